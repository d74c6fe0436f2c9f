"""Base models: found, refused with a sentence that helps, and never left half-done."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from workers.models import WHEEL_MODEL, ModelUnavailableError, ensure_base_model


def save_tiny_model(folder: Path) -> None:
    GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=1, n_embd=8, vocab_size=4, n_positions=8)).save_pretrained(folder)
    vocabulary = {"a": 0, "b": 1, ".": 2, "?": 3}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?").save_pretrained(folder)


def ensure_apart(name: str, home: Path, hub_cache: Path) -> subprocess.CompletedProcess[str]:
    """ensure_base_model in a process for which the hub is a closed port, so that no test reaches for the network."""
    code = (
        "import sys; from pathlib import Path; from workers.models import ensure_base_model\n"
        "print(ensure_base_model(sys.argv[1], Path(sys.argv[2])))"
    )
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(hub_cache)}
    return subprocess.run(
        [sys.executable, "-c", code, name, str(home)], env=environment, capture_output=True, text=True, timeout=60
    )


def test_a_local_folder_is_used_where_it_lies(tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "mine")
    assert ensure_base_model(str(tmp_path / "mine"), tmp_path / "home") == tmp_path / "mine"
    assert not (tmp_path / "home").exists()


def test_a_folder_says_what_it_lacks(tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "mine")
    (tmp_path / "mine" / "model.safetensors").unlink()
    with pytest.raises(ModelUnavailableError, match=r"lacks weights \(\*\.safetensors\): save"):
        ensure_base_model(str(tmp_path / "mine"), tmp_path)
    with pytest.raises(ModelUnavailableError, match=r"nowhere lacks config\.json, weights .*, a tokenizer"):
        ensure_base_model(str(tmp_path / "nowhere"), tmp_path)


@pytest.mark.parametrize("name", ["", "two words", "a/b/c", "models/../../etc"])
def test_names_that_are_no_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="neither a hub id nor a folder"):
        ensure_base_model(name, tmp_path)


def test_what_is_there_is_taken_without_asking_anyone(tmp_path: Path) -> None:
    told = []
    save_tiny_model(tmp_path / "models" / WHEEL_MODEL)
    for name in ("auto", WHEEL_MODEL):
        found = ensure_base_model(name, tmp_path, lambda what, fraction: told.append((what, fraction)))
        assert found == tmp_path / "models" / WHEEL_MODEL
    assert told == [(f"{WHEEL_MODEL} is ready", 1.0)] * 2
    save_tiny_model(tmp_path / "models" / "gpt2")
    assert ensure_base_model("auto", tmp_path).name == "gpt2"


def test_a_hub_model_comes_from_the_cache_and_a_killed_build_is_swept_away(tmp_path: Path) -> None:
    repository = tmp_path / "cache" / "hub" / "models--some--tiny"
    save_tiny_model(repository / "snapshots" / "0123abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")
    killed = tmp_path / "models" / ".building-old"
    killed.mkdir(parents=True)
    done = ensure_apart("some/tiny", tmp_path, tmp_path / "cache")
    folder = tmp_path / "models" / "some--tiny"
    assert done.stdout.strip() == str(folder), done.stderr
    assert not killed.exists()
    shutil.rmtree(tmp_path / "cache")
    assert AutoTokenizer.from_pretrained(folder).decode([0, 2]).replace(" ", "") == "a."
    assert AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([[0, 1]])).logits.shape == (1, 2, 4)


def test_a_hub_that_does_not_answer_ends_in_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    done = ensure_apart("nobody/nothing", tmp_path, tmp_path / "cache")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("workers.models.ModelUnavailableError: nobody/nothing is not on this machine and")
    assert f"use `{WHEEL_MODEL}`" in last
    assert [path.name for path in (tmp_path / "models").iterdir()] == [".lock"]


@pytest.mark.slow
def test_the_wheel_becomes_a_plain_model_that_writes_english(tmp_path: Path) -> None:
    folder = ensure_base_model(WHEEL_MODEL, tmp_path)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    assert "Paris" in tokenizer.decode(model(ids).logits[0, -1].argmax())
