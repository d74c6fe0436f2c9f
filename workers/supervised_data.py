"""Rows to learn from by supervision: texts, or references to prompts, as tokens."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from app.errors import InvalidError
from app.hparams import SupervisedHParams, TaskHParams
from app.kinds import Split
from app.texts import digest_of, split_of
from workers.nets.tokenizer import PAD_ID, encode_queries, left_padded, token_ids

KEYS = {"text", "prompt", "reference"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One text to learn."""

    where: str
    """File and line, for who has to mend it."""
    prompt: str | None
    """What stands before the text and is not learned; None: nothing does."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A row as tokens."""

    query: tuple[int, ...]
    """Read, not learned; at least one token."""
    response: tuple[int, ...]
    """Learned; at least one token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """What is learned, and what tells how well."""

    train: list[Example]
    valid: list[Example]


def read_rows(path: Path) -> list[Row]:
    """Rows of a JSON lines file: `{"text": ...}` or `{"prompt": ..., "reference": ...}`, one per line.

    Raises: InvalidError naming file, line and cause.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidError(f"Cannot read the rows in {path}: {error}.") from error
    return [_row(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1) if line.strip()]


def encode_rows(
    rows: Sequence[Row],
    tokenizer: PreTrainedTokenizerBase,
    *,
    task: TaskHParams,
    hparams: SupervisedHParams,
    context: int | None,
) -> Examples:
    """Rows as tokens, split as all prompts are: a tenth tells how well, the test split is left out altogether.

    Args:
        task: how prompts are cut and what stands around them, as in the run that will start from the result.
        context: of the model, in tokens; None: no bound.
    Raises: InvalidError for a row without tokens to learn, for too few rows, and where the longest exceed the context.
    """
    sides: dict[Split, list[Example]] = {split: [] for split in Split}
    for row in rows:
        split = split_of(digest_of(row.text if row.prompt is None else row.prompt))
        sides[split].append(_example(row, tokenizer, task, hparams))
    examples = Examples(train=sides[Split.TRAIN], valid=sides[Split.VALID])
    if not examples.train or not examples.valid:
        raise InvalidError(
            f"{len(rows)} rows leave {len(examples.train)} to learn and {len(examples.valid)} to choose a rate by: "
            "give more different prompts or texts; 75 % of them are learned, 10 % choose, 15 % stay for tests."
        )
    _require_room(examples, hparams, context)
    return examples


def padded(examples: Sequence[Example], device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(b, q) ids and bool mask of queries, left-padded; (b, r) ids and bool mask of responses, right-padded."""
    queries, query_mask = left_padded([list(one.query) for one in examples])
    longest = max(len(one.response) for one in examples)
    responses = torch.tensor([[*one.response, *[PAD_ID] * (longest - len(one.response))] for one in examples])
    lengths = torch.tensor([len(one.response) for one in examples])
    mask = torch.arange(longest) < lengths.unsqueeze(1)
    return queries.to(device), query_mask.to(device), responses.to(device), mask.to(device)


def _row(line: str, where: str) -> Row:
    try:
        row: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidError(f"{where}: not JSON ({error.msg}).") from error
    known = row if isinstance(row, dict) else {}
    if set(known) & KEYS == {"text"} and _says(known["text"]):
        return Row(where=where, prompt=None, text=known["text"])
    if set(known) & KEYS == {"prompt", "reference"} and _says(known["prompt"]) and _says(known["reference"]):
        return Row(where=where, prompt=known["prompt"], text=known["reference"])
    raise InvalidError(f'{where}: give either a "text" or a "prompt" with its "reference", as non-empty strings.')


def _says(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _example(row: Row, tokenizer: PreTrainedTokenizerBase, task: TaskHParams, hparams: SupervisedHParams) -> Example:
    if row.prompt is None:  # the first token, the tokenizer's own start token where it puts one, has nothing before it
        whole: list[int] = tokenizer(row.text)["input_ids"]
        query, response = whole[:1], whole[1:]
    else:
        ids, _ = encode_queries(
            tokenizer, [row.prompt], max_tokens=task.query_tokens, prefix=task.prefix, suffix=task.suffix
        )
        query, response = ids[0].tolist(), token_ids(tokenizer, row.text)
    if not response:
        raise InvalidError(f"{row.where}: too short, nothing is left to learn.")
    if len(response) < hparams.max_tokens and hparams.end_token and tokenizer.eos_token_id is not None:
        response = [*response, tokenizer.eos_token_id]
    return Example(query=tuple(query), response=tuple(response[: hparams.max_tokens]))


def _require_room(examples: Examples, hparams: SupervisedHParams, context: int | None) -> None:
    both = [*examples.train, *examples.valid]
    query, response = max(len(one.query) for one in both), max(len(one.response) for one in both)
    if context is not None and query + response > context:
        raise InvalidError(
            f"{query} tokens of prompt and {response} of text exceed the model's context of {context}: "
            f"set supervised.max_tokens to {max(1, context - query)} (now {hparams.max_tokens}) or shorten the prompts."
        )
