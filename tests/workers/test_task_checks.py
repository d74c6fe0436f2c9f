"""What cannot go well is said before anything is sampled: too long a text, no end, another model's tokenizer."""

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from app.errors import InvalidError
from app.hparams import TaskHParams
from tests.tiny import save_tiny_model
from workers.models import ModelUnavailableError, weights_digest
from workers.workshop import Workshop

CONTEXT = 256
"""Tokens that the tiny model reads."""
Prepare = Callable[[Path, TaskHParams], str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny model."""
    return save_tiny_model(tmp_path / "tiny")


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    """What a run does first."""
    workshop = Workshop(tmp_path / "home")
    return lambda folder, task: workshop.prepare(str(folder), task)


def task(**changes: object) -> TaskHParams:
    """Responses of 24 tokens."""
    return TaskHParams.model_validate({"question": "?"} | changes)


def test_what_just_fits_is_prepared(folder: Path, prepare: Prepare) -> None:
    fits = task(query_tokens=CONTEXT - 24 - 3, prefix="she was", suffix="happy")
    assert prepare(folder, fits) == weights_digest(folder)


def test_a_token_more_is_refused_with_what_would_fit(folder: Path, prepare: Prepare) -> None:
    room = CONTEXT - 24 - 3
    with pytest.raises(InvalidError, match=rf"{room + 1} \+ 3 \+ 24: set task\.query_tokens to {room} or less"):
        prepare(folder, task(query_tokens=room + 1, prefix="she was", suffix="happy"))


def test_a_response_that_leaves_no_room_is_refused(folder: Path, prepare: Prepare) -> None:
    with pytest.raises(InvalidError, match=r"lower task\.response_tokens"):
        prepare(folder, task(response_tokens=CONTEXT))


def test_a_task_that_nothing_ends_is_refused(folder: Path, prepare: Prepare) -> None:
    with pytest.raises(InvalidError, match=r"task\.terminator: no token of this tokenizer ends with ';'"):
        prepare(folder, task(terminator=";"))


def test_a_tokenizer_of_another_model_is_refused(folder: Path, prepare: Prepare) -> None:
    GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=1, n_embd=8, vocab_size=9)).save_pretrained(folder)
    with pytest.raises(InvalidError, match="has 21 tokens and the model only 9"):
        prepare(folder, task())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: [path.unlink() for path in folder.glob("tokenizer*")], "lacks a tokenizer"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer|no tokenizer can be read"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "no tokenizer can be read"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "t5"}'), "t5 model is no causal language"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "nothing"}'), r"config\.json cannot be"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 99), "the weights cannot be read"),
    ],
    ids=["no tokenizer file", "half a tokenizer", "broken tokenizer", "no causal LM", "unknown kind", "broken weights"],
)
def test_a_folder_that_is_no_base_model_says_why(
    folder: Path, prepare: Prepare, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(folder)
    with pytest.raises(ModelUnavailableError, match=said):
        prepare(folder, task())
