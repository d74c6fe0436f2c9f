"""Prompts: read them, import them, split them by a hash of their text, pick the next ones."""

import hashlib
import importlib.resources
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import String, cast, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.errors import InvalidError
from app.models import Comparison, Prompt, Run, Split

TEST_SHARE = 0.15
VALID_SHARE = 0.10
CHUNK = 1000
"""Rows per INSERT: PostgreSQL takes at most 65,535 parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import did."""

    added: int
    known: int
    """Left out: their normalised text is in the set already, or stands twice in the import."""


def normalise(text: str) -> str:
    """The text as it counts for sameness: case folded, runs of white space as one space."""
    return " ".join(text.casefold().split())


def digest_of(text: str) -> str:
    """Hex sha256 of the normalised text."""
    return hashlib.sha256(normalise(text).encode()).hexdigest()


def split_of(digest: str) -> Split:
    """The split of a text, for ever and everywhere: 15 % test, 10 % valid, the rest train."""
    place = int(digest[:8], 16) / 2**32
    if place < TEST_SHARE:
        return Split.TEST
    return Split.VALID if place < TEST_SHARE + VALID_SHARE else Split.TRAIN


def import_texts(session: Session, prompt_set: str, texts: Iterable[str]) -> Imported:
    """Add texts to a named set; importing the same again adds nothing.

    Raises: InvalidError if the set has no name or a text is blank.
    """
    if not prompt_set.strip():
        raise InvalidError("Give the prompt set a name.")
    rows: dict[str, dict[str, Any]] = {}
    total = 0
    for total, text in enumerate(texts, start=1):
        if not text.strip() or "\0" in text:
            raise InvalidError(f"Prompt {total} is blank or holds a NUL character: remove it.")
        digest = digest_of(text)
        rows.setdefault(digest, {"prompt_set": prompt_set, "text": text, "digest": digest, "split": split_of(digest)})
    added = _insert(session, list(rows.values()))
    return Imported(added=added, known=total - added)


def bundled_stories() -> list[str]:
    """The story openings that come with Prefloop."""
    content = importlib.resources.files("app").joinpath("data/stories.jsonl").read_text(encoding="utf-8")
    return [_text_of(line, f"stories.jsonl, line {number}") for number, line in _numbered(content)]


def read_file(path: Path) -> list[str]:
    """Prompts of a file: `.jsonl` with one JSON string or object with a `text` per line, else one prompt per line.

    Blank lines are skipped. Raises: InvalidError naming the file and line.
    """
    try:
        lines = _numbered(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}.") from error
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        return [line for _, line in lines]
    return [_text_of(line, f"{path}, line {number}") for number, line in lines]


def pick(session: Session, run: Run, *, split: Split, count: int, seed: int) -> Sequence[Prompt]:
    """At most `count` prompts of the run's set and split: those it has asked least often, ties by md5(seed, id).

    The same seed and past give the same prompts.
    """
    asked = (
        select(Comparison.prompt_id, func.count().label("times"))
        .where(Comparison.run_id == run.id)
        .group_by(Comparison.prompt_id)
        .subquery()
    )
    order = func.md5(literal(f"{seed}:") + cast(Prompt.id, String))
    query = (
        select(Prompt)
        .outerjoin(asked, asked.c.prompt_id == Prompt.id)
        .where(Prompt.prompt_set == run.hparams["prompt_set"], Prompt.split == split)
        .order_by(func.coalesce(asked.c.times, 0), order)
        .limit(count)
    )
    return session.scalars(query).all()


def counts(session: Session, prompt_set: str) -> dict[Split, int]:
    """How many prompts each split of a set has."""
    rows = session.execute(
        select(Prompt.split, func.count()).where(Prompt.prompt_set == prompt_set).group_by(Prompt.split)
    )
    found = dict(rows.all())
    return {split: found.get(split, 0) for split in Split}


def _insert(session: Session, rows: list[dict[str, Any]]) -> int:
    statement = insert(Prompt).on_conflict_do_nothing(index_elements=[Prompt.prompt_set, Prompt.digest])
    added = 0
    for start in range(0, len(rows), CHUNK):
        added += len(session.scalars(statement.returning(Prompt.id), rows[start : start + CHUNK]).all())
    return added


def _numbered(content: str) -> list[tuple[int, str]]:
    """Lines that are not blank, numbered from 1; `splitlines` would also split at characters JSON strings may hold."""
    return [(number, line) for number, line in enumerate(content.split("\n"), start=1) if line.strip()]


def _text_of(line: str, where: str) -> str:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidError(f"{where}: not JSON ({error.msg}).") from error
    text = value.get("text") if isinstance(value, dict) else value
    if not isinstance(text, str) or not text.strip():
        raise InvalidError(f'{where}: give a string, or an object with a non-empty string "text".')
    return text
