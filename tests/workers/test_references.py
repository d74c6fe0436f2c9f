"""Prompts as the models read them, and the tokens that end a response, from a folder on disk."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from app.hparams import TaskHParams
from tests.tiny import TOKENS, save_tiny_model
from workers.models import weights_digest
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.nets.tokenizer import load_tokenizer
from workers.references import Reference

TASK = TaskHParams(question="?", query_tokens=3, prefix="the sun", suffix="she was")


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    """A tiny model."""
    folder = save_tiny_model(tmp_path / "tiny")
    return Reference(
        folder=folder,
        digest=weights_digest(folder),
        policy=Policy(LanguageModel.load(folder)).requires_grad_(False),
        tokenizer=load_tokenizer(folder),
    )


def words(ids: Tensor, mask: Tensor) -> list[str]:
    return ["".join(TOKENS[i] for i in row[real]) for row, real in zip(ids, mask, strict=True)]


def test_the_formatted_query_is_the_raw_one_in_its_frame(reference: Reference) -> None:
    texts = ["he was happy and sad", "home"]
    assert words(*reference.encode(texts, TASK, formatted=False)) == ["▁happy▁and▁sad", "▁home"]
    assert words(*reference.encode(texts, TASK)) == ["▁the▁sun▁happy▁and▁sad▁she▁was", "▁the▁sun▁home▁she▁was"]


@pytest.mark.parametrize(("reward_query", "raw"), [("formatted", "▁the▁sun▁home▁she▁was"), ("raw", "▁home")])
def test_the_reward_model_may_read_the_query_without_its_frame(
    reference: Reference, reward_query: str, raw: str
) -> None:
    queries = reference.queries(["home"], TASK, reward_query)  # type: ignore[arg-type]
    assert words(queries.ids, queries.mask) == ["▁the▁sun▁home▁she▁was"]
    assert words(queries.raw_ids, queries.raw_mask) == [raw]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["."]),
        ({"eos_ends": True}, ["<|endoftext|>", "."]),
        ({"terminator": None, "eos_ends": True}, ["<|endoftext|>"]),
        ({"terminator": None}, []),
    ],
)
def test_the_task_says_which_tokens_end_a_sample(
    reference: Reference, changes: dict[str, object], expected: list[str]
) -> None:
    found = reference.terminators(TASK.model_copy(update=changes))
    assert found.dtype == torch.int64
    assert [TOKENS[i] for i in found] == expected


def test_what_is_remembered_of_one_task_does_not_serve_another(reference: Reference) -> None:
    both, one = TASK.model_copy(update={"eos_ends": True}), TASK.model_copy(update={"terminator_match": "exact"})
    assert [len(reference.terminators(task)) for task in (both, one, TASK, both)] == [2, 1, 1, 2]
