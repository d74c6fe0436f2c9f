"""A published policy is a folder that transformers opens as it lies, with the logits and samples that were trained."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from tests.tiny import save_tiny_model
from tests.workers.nets.tiny import SHAPES, padded_queries, random_ids, tiny_language_model, tiny_model
from workers.checkpoints import CheckpointStore, CorruptCheckpointError
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.nets.tokenizer import load_tokenizer
from workers.published import KIND, load_policy, publish

CPU = torch.device("cpu")


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "store", reserve_bytes=0)


@pytest.fixture
def tokenizer(tmp_path: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(save_tiny_model(tmp_path / "tiny"))


def trained(shape: str) -> Policy:
    """A policy whose every weight differs from the base model's."""
    policy = Policy(tiny_language_model(shape))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return policy


@pytest.mark.parametrize("shape", SHAPES)
def test_transformers_opens_the_folder(
    shape: str, store: CheckpointStore, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    policy = trained(shape)
    folder = store.root / publish(store, policy, tokenizer)
    opened, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), "no key is missing, unexpected or of another shape"
    ids = random_ids(2, 9)
    mine = policy.language_model
    logits = mine.logits(mine.hidden(ids, torch.ones_like(ids).bool()))
    torch.testing.assert_close(opened.eval()(ids).logits, logits, atol=1e-4, rtol=1e-4)
    text = "she was happy ."
    assert AutoTokenizer.from_pretrained(folder)(text).input_ids == tokenizer(text).input_ids
    tiny_model(shape).save_pretrained(tmp_path / "theirs")
    names = load_file(tmp_path / "theirs" / "model.safetensors").keys()
    assert load_file(folder / "model.safetensors").keys() == names, "tied weights once, under transformers' names"
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


@pytest.mark.parametrize("shape", SHAPES)
def test_it_comes_back_bit_for_bit(shape: str, store: CheckpointStore, tokenizer: PreTrainedTokenizerBase) -> None:
    policy = trained(shape)
    digest = publish(store, policy, tokenizer)
    again = load_policy(store, digest, Path("nowhere"), device=CPU)
    theirs = again.state_dict()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in policy.state_dict().items())
    assert publish(store, again, tokenizer) == digest
    responses = random_ids(3, 5, seed=2)
    said, heard = (one(*padded_queries(), responses, temperature=0.7) for one in (policy, again))
    assert torch.equal(said.logprobs, heard.logprobs)
    assert torch.equal(said.values, heard.values)


def test_a_base_model_kept_in_half_precision_is_published_as_it_was_trained(
    store: CheckpointStore, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    tiny_model("llama").to(torch.bfloat16).save_pretrained(tmp_path / "half")
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "bfloat16"
    folder = store.root / publish(store, Policy(LanguageModel.load(tmp_path / "half")), tokenizer)
    assert AutoModelForCausalLM.from_pretrained(folder).dtype == torch.float32


def test_a_published_policy_can_be_the_base_model_of_another_run(
    store: CheckpointStore, tokenizer: PreTrainedTokenizerBase
) -> None:
    policy = trained("gpt2")
    folder = store.root / publish(store, policy, tokenizer)
    ids = random_ids(1, 6)
    first, second = (
        one.hidden(ids, torch.ones_like(ids).bool()) for one in (policy.language_model, LanguageModel.load(folder))
    )
    assert torch.equal(first, second)
    assert load_tokenizer(folder).get_vocab() == tokenizer.get_vocab()


def test_an_older_form_is_still_read(store: CheckpointStore, tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    policy = Policy(LanguageModel.load(base))
    torch.nn.init.normal_(policy.value_head.weight)
    old = store.save(KIND, {"policy": policy.state_dict()}, {})
    again = load_policy(store, old, base, device=CPU).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in policy.state_dict().items())


def test_something_else_is_no_policy(store: CheckpointStore, tmp_path: Path) -> None:
    digest = store.save("reward_model", {"model": {"x": torch.ones(1)}}, {})
    with pytest.raises(CorruptCheckpointError, match="is a reward_model, not a policy"):
        load_policy(store, digest, tmp_path, device=CPU)
