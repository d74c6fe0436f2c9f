"""Rows of files become tokens to read and tokens to learn."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from app.errors import InvalidError
from app.hparams import SupervisedHParams, TaskHParams
from app.texts import digest_of, split_of
from tests.tiny import TOKENS, WORDS, save_tiny_model
from workers.nets.tokenizer import load_tokenizer
from workers.supervised_data import Example, Examples, Row, encode_rows, padded, read_rows

TASK = TaskHParams(question="?", query_tokens=3, prefix="door", suffix="home")


@pytest.fixture
def tokenizer(tmp_path: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(save_tiny_model(tmp_path / "model"))


def written(path: Path, *lines: Any) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def words(ids: tuple[int, ...]) -> list[str]:
    return [TOKENS[i].removeprefix("▁") for i in ids]


def of_split(split: str, count: int) -> list[str]:
    """Prompts of one split."""
    every = (f"{a} {b} {c}" for a in WORDS for b in WORDS for c in WORDS)
    return [text for text in every if split_of(digest_of(text)) == split][:count]


def encoded(
    tokenizer: PreTrainedTokenizerBase, rows: list[Row], *, context: int | None = None, **changes: Any
) -> Examples:
    hparams = SupervisedHParams(**changes)
    return encode_rows(rows, tokenizer, task=TASK, hparams=hparams, context=context)


def row(text: str, prompt: str | None = None) -> Row:
    return Row(where="rows.jsonl, line 1", prompt=prompt, text=text)


def held_out() -> Row:
    return row("she was", of_split("valid", 1)[0])


def test_both_kinds_of_rows_are_read_with_their_place(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", {"text": "it was", "id": 4}, "", {"prompt": "she", "reference": " was"})
    assert read_rows(path) == [
        Row(where=f"{path}, line 1", prompt=None, text="it was"),
        Row(where=f"{path}, line 3", prompt="she", text=" was"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "3",
        "null",
        {},
        {"text": ""},
        {"text": 3},
        {"prompt": "she"},
        {"reference": "she"},
        {"prompt": "she", "text": "was"},
        {"prompt": " ", "reference": "was"},
        {"text": "a", "reference": "b"},
    ],
)
def test_what_is_wrong_with_a_row_is_said_with_its_line(tmp_path: Path, line: Any) -> None:
    with pytest.raises(InvalidError, match=r"rows\.jsonl, line 2: "):
        read_rows(written(tmp_path / "rows.jsonl", {"text": "fine"}, line))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=r"none\.jsonl"):
        read_rows(tmp_path / "none.jsonl")


def test_a_prompt_is_read_as_a_run_reads_it(tokenizer: PreTrainedTokenizerBase) -> None:
    """Cut at its beginning to three tokens, prefix and suffix around it; the reference follows and ends."""
    prompt = next(text for text in (f"{word} it was {word}" for word in WORDS) if split_of(digest_of(text)) == "train")
    (found,) = encoded(tokenizer, [row("she was home", prompt), held_out()]).train
    assert words(found.query) == ["door", *prompt.split()[1:], "home"]
    assert words(found.response) == ["she", "was", "home", "<|endoftext|>"]


def test_of_a_text_all_but_the_first_token_is_learned(tokenizer: PreTrainedTokenizerBase) -> None:
    text = of_split("train", 1)[0]
    (found,) = encoded(tokenizer, [row(text), held_out()], end_token=False).train
    assert [*words(found.query), *words(found.response)] == text.split()
    assert len(found.query) == 1


def test_long_texts_lose_their_end_and_do_not_end(tokenizer: PreTrainedTokenizerBase) -> None:
    prompt = of_split("train", 1)[0]
    long, exact = (
        encoded(tokenizer, [row("the sun was a door", prompt), held_out()], max_tokens=length).train[0].response
        for length in (3, 5)
    )
    assert words(long) == ["the", "sun", "was"]
    assert words(exact) == ["the", "sun", "was", "a", "door"]


def test_rows_go_where_the_prompts_of_a_run_go(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [
        row("she", prompt) for split, n in (("train", 7), ("valid", 3), ("test", 5)) for prompt in of_split(split, n)
    ]
    found = encoded(tokenizer, rows)
    assert [" ".join(words(one.query[1:-1])) for one in found.train] == of_split("train", 7)
    assert [" ".join(words(one.query[1:-1])) for one in found.valid] == of_split("valid", 3)


def test_too_few_rows_are_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(InvalidError, match="2 rows leave 2 to learn and 0 to choose"):
        encoded(tokenizer, [row("she", prompt) for prompt in of_split("train", 2)])


def test_a_row_without_anything_to_learn_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(InvalidError, match=r"rows\.jsonl, line 1: too short"):
        encoded(tokenizer, [row("she"), held_out()])


def test_what_the_model_cannot_hold_is_refused_before_the_start(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [row("the sun was a door", of_split("train", 1)[0]), held_out()]
    with pytest.raises(
        InvalidError, match=r"5 tokens of prompt and 6 of text .* of 10: set supervised.max_tokens to 5"
    ):
        encoded(tokenizer, rows, context=10)
    assert len(encoded(tokenizer, rows, context=10, max_tokens=5).train[0].response) == 5


def test_padding_stands_outside() -> None:
    rows = [Example(query=(3,), response=(4, 5)), Example(query=(6, 7), response=(8,))]
    queries, query_mask, responses, mask = padded(rows, torch.device("cpu"))
    assert (queries * query_mask).tolist() == [[0, 3], [6, 7]]
    assert query_mask.tolist() == [[False, True], [True, True]]
    assert (responses * mask).tolist() == [[4, 5], [8, 0]]
    assert mask.tolist() == [[True, True], [True, False]]
