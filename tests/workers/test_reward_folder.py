"""Exported reward models give the scores they gave here, in transformers alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from app.errors import InvalidError
from app.hparams import Pooling, TaskHParams
from tests.tiny import save_tiny_model
from tests.workers.nets.tiny import FAMILIES, tiny_language_model
from workers.nets.language_model import FINAL, LanguageModel
from workers.nets.reward_ensemble import Reward, RewardEnsemble
from workers.nets.reward_model import Read, RewardModel
from workers.nets.tokenizer import encode_queries, load_tokenizer, token_ids
from workers.reward_folder import OFFSET, as_classifier, write_reward_model

TASK = TaskHParams(question="?", query_tokens=6, prefix="the sun", suffix="and")
PAIRS = [
    ("she was happy", " the rain."),
    ("it was to the home of the sad door in the rain", " home and home."),
    ("he", "."),
]
MIDDLE = (Read(1, Pooling.MEAN), Read(FINAL, Pooling.LAST))


def trained(trunk: LanguageModel, reads: tuple[Read, ...], *, seed: int = 0, frozen: bool = True) -> RewardModel:
    """A model none of whose numbers is trivial."""
    model = RewardModel(trunk, reads=reads, frozen=frozen, generator=torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        model.head.bias.fill_(0.3)
        model.gain.fill_(1.7)
        model.bias.fill_(-0.4)
        model.feature_mean.copy_(torch.randn(model.feature_mean.shape, generator=generator))
        model.feature_std.copy_(torch.rand(model.feature_std.shape, generator=generator) + 0.5)
        if model.attention is not None:
            model.attention.copy_(torch.randn(model.attention.shape, generator=generator))
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_on_the_last_token_is_a_sequence_classifier(family: str) -> None:
    """Three architectures: with a bias in the final norm the logit is the score, without one an offset is told."""
    model = trained(tiny_language_model(family), (Read(FINAL, Pooling.LAST),))
    ids = torch.randint(61, (4, 9), generator=torch.Generator().manual_seed(3))
    expected = model.score_features(model.features(ids, torch.ones_like(ids, dtype=torch.bool)))
    made = as_classifier(model)
    assert made is not None
    with torch.no_grad():
        rows = [made(row.unsqueeze(0)).logits[0, 0] + getattr(made.config, OFFSET) for row in ids]
    torch.testing.assert_close(torch.stack(rows), expected.detach(), atol=1e-4, rtol=1e-4)
    assert (getattr(made.config, OFFSET) == 0) == (family != "llama")


def scores(model: Reward, folder: Path, task: TaskHParams) -> Tensor:
    tokenizer = load_tokenizer(folder)
    found = []
    for prompt, response in PAIRS:
        queries, mask = encode_queries(
            tokenizer, [prompt], max_tokens=task.query_tokens, prefix=task.prefix, suffix=task.suffix
        )
        ids = torch.tensor([token_ids(tokenizer, response)])
        with torch.no_grad():
            found.append(model(queries, mask, ids, torch.ones_like(ids, dtype=torch.bool)))
    return torch.cat(found)


def script_scores(folder: Path) -> Tensor:
    program = f"import json, sys; sys.path.insert(0, {str(folder)!r}); from score import score; " + (
        f"print(json.dumps([score(*pair) for pair in {PAIRS!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=folder)
    return torch.tensor(json.loads(done.stdout.splitlines()[-1]))


def test_every_other_head_comes_with_a_script_that_scores_alike(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "tiny")
    trunk = LanguageModel.load(base)
    ensemble = RewardEnsemble([trained(trunk, MIDDLE, seed=seed) for seed in (0, 5)])
    with torch.no_grad():
        ensemble.gain.fill_(1.3)
        ensemble.bias.fill_(0.2)
    assert not write_reward_model(tmp_path / "out", ensemble, load_tokenizer(base), task=TASK, reads="formatted")
    torch.testing.assert_close(script_scores(tmp_path / "out"), scores(ensemble, base, TASK), atol=1e-4, rtol=1e-4)


def test_attention_and_raw_queries_too(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "tiny")
    model = trained(LanguageModel.load(base), (Read(FINAL, Pooling.ATTENTION),), frozen=False)
    write_reward_model(tmp_path / "out", model, load_tokenizer(base), task=TASK, reads="raw")
    plain = TASK.model_copy(update={"prefix": "", "suffix": ""})
    torch.testing.assert_close(script_scores(tmp_path / "out"), scores(model, base, plain), atol=1e-4, rtol=1e-4)


def test_a_written_classifier_reads_padded_batches(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "tiny")
    model = trained(LanguageModel.load(base), (Read(FINAL, Pooling.LAST),))
    assert write_reward_model(tmp_path / "out", model, load_tokenizer(base), task=TASK, reads="formatted")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    texts = ["the sun and rain.", "he was"]
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    with torch.no_grad():
        batch = loaded(**inputs).logits[:, 0]
        alone = torch.stack(
            [loaded(**tokenizer(t, return_tensors="pt")).logits[0, 0] for t in ("the sun and rain.", "he was")]
        )
    torch.testing.assert_close(batch, alone, atol=1e-5, rtol=1e-5)


def test_an_ensemble_of_tuned_models_is_refused(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "tiny")
    members = [trained(LanguageModel.load(base), MIDDLE, frozen=False, seed=seed) for seed in (0, 1)]
    with pytest.raises(InvalidError, match="several models"):
        write_reward_model(tmp_path / "out", RewardEnsemble(members), load_tokenizer(base), task=TASK, reads="raw")
