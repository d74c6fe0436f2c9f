"""Prompts: import them, pick the next ones."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import String, cast, func, literal, select
from sqlalchemy.dialects.postgresql import insert as insert_row
from sqlalchemy.orm import Session

from app.errors import InvalidError
from app.models import Comparison, Prompt, Run, Split
from app.texts import digest_of, split_of

CHUNK = 1000
"""Rows per INSERT: PostgreSQL takes at most 65,535 parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import did."""

    added: int
    known: int
    """Left out: their normalised text is in the set already, or stands twice in the import."""


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
    added = len(insert(session, list(rows.values())))
    return Imported(added=added, known=total - added)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSet:
    """A named set of prompts."""

    name: str
    train: int
    valid: int
    test: int
    references: int
    """Prompts with a human answer."""


def sets(session: Session) -> tuple[PromptSet, ...]:
    """All sets, by name."""
    split = {one.value: func.count().filter(Prompt.split == one).label(one.value) for one in Split}
    rows = session.execute(
        select(Prompt.prompt_set.label("name"), *split.values(), func.count(Prompt.reference).label("references"))
        .group_by(Prompt.prompt_set)
        .order_by(Prompt.prompt_set)
    )
    return tuple(PromptSet(**row._mapping) for row in rows)


def insert(session: Session, rows: Sequence[dict[str, Any]]) -> list[Split]:
    """Write rows of the table, those left out whose text is in their set already; the split of each new one."""
    statement = insert_row(Prompt).on_conflict_do_nothing(index_elements=[Prompt.prompt_set, Prompt.digest])
    added: list[Split] = []
    for start in range(0, len(rows), CHUNK):
        added += session.scalars(statement.returning(Prompt.split), rows[start : start + CHUNK]).all()
    return added
