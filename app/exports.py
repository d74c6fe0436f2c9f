"""Labels out, row by row: whole, as best-of-4 records, or as chosen and rejected pairs."""

import json
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from app import answers
from app.db import SessionFactory, session_scope
from app.models import Assignment, Checkpoint, Comparison, Guideline, Label, Prompt, Sample
from app.usable import is_current, usable_labels

CHUNK = 500
"""Labels held in memory at a time."""

Record = dict[str, Any]


class Format(StrEnum):
    """What one line is."""

    JSONL = "jsonl"
    """A label with everything known about it, revisions and skips included."""
    BEST_OF_4 = "best_of_4"
    """A usable label: `prompt`, `samples` in the order shown, `best` as an index into them."""
    PAIRS = "pairs"
    """Three per usable label: `prompt`, `chosen`, `rejected`."""


def lines(factory: SessionFactory, run_id: UUID, form: Format) -> Iterator[str]:
    """JSON lines of a run's labels, oldest first, in a transaction that lasts as long as the reading."""
    with session_scope(factory) as session:
        rows = session.execute(_query(run_id, form).execution_options(yield_per=CHUNK))
        for chunk in rows.partitions():
            for record in _records(session, chunk, form):
                yield json.dumps(record, ensure_ascii=False) + "\n"


def _query(run_id: UUID, form: Format) -> Select[*tuple[Any, ...]]:
    query = (
        select(Label, is_current().label("current"), Assignment.shown, Comparison, Prompt, Guideline.version)
        .join(Assignment, Assignment.id == Label.assignment_id)
        .join(Comparison, Comparison.id == Label.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .outerjoin(Guideline, Guideline.id == Label.guideline_id)
        .where(Comparison.run_id == run_id)
        .order_by(Label.created_at, Label.id)
    )
    if form == Format.JSONL:
        return query
    usable = usable_labels(run_id).with_only_columns(Label.id).subquery()
    return query.where(Label.id.in_(select(usable.c.id)))


def _records(session: Session, rows: Sequence[Row[*tuple[Any, ...]]], form: Format) -> Iterable[Record]:
    samples = _samples(session, {sample_id for row in rows for sample_id in row.shown})
    said = answers.stored(session, {row.Label.id for row in rows}) if form == Format.JSONL else {}
    for row in rows:
        shown = [samples[sample_id] for sample_id in row.shown]
        if form == Format.JSONL:
            yield _whole(row, shown) | {"answers": said.get(row.Label.id, {})}
        else:
            yield from _chosen(row, [sample["text"] for sample in shown], form)


def _samples(session: Session, ids: set[UUID]) -> dict[UUID, Record]:
    query = (
        select(Sample, Checkpoint.kind, Checkpoint.number)
        .join(Checkpoint, Checkpoint.id == Sample.policy_id)
        .where(Sample.id.in_(ids))
    )
    return {
        sample.id: {
            "id": str(sample.id),
            "text": sample.text,
            "policy": str(sample.policy_id),
            "policy_kind": kind,
            "policy_number": number,
            "temperature": sample.temperature,
            "seed": sample.seed,
        }
        for sample, kind, number in session.execute(query)
    }


def _whole(row: Row[*tuple[Any, ...]], shown: list[Record]) -> Record:
    label, comparison, prompt = row.Label, row.Comparison, row.Prompt
    return {
        "label": str(label.id),
        "revision": label.revision,
        "current": row.current,
        "verdict": label.verdict,
        "choice": str(label.chosen_sample_id) if label.chosen_sample_id else None,
        "reason": label.reason,
        "strength": label.strength,
        "milliseconds": label.milliseconds,
        "created_at": label.created_at.isoformat(),
        "labeler": str(label.labeler_id),
        "guideline_version": row.version,
        "comparison": str(comparison.id),
        "purpose": comparison.purpose,
        "serving_policy": str(comparison.policy_id),
        "prompt_id": str(prompt.id),
        "prompt": prompt.text,
        "split": prompt.split,
        "samples": shown,
    }


def _chosen(row: Row[*tuple[Any, ...]], texts: list[str], form: Format) -> Iterator[Record]:
    best = row.shown.index(row.Label.chosen_sample_id)
    if form == Format.BEST_OF_4:
        yield {"prompt": row.Prompt.text, "samples": texts, "best": best}
        return
    for place, text in enumerate(texts):
        if place != best:
            yield {"prompt": row.Prompt.text, "chosen": texts[best], "rejected": text}
