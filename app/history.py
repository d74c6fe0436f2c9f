"""A labeler's own work: the last answers, to look at and change, and what came of all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import answers
from app.comparisons import ANSWERS, CLOSING
from app.leasing import Lease, described
from app.models import (
    Checkpoint,
    CheckpointKind,
    Comparison,
    Label,
    LabelSetItem,
    Verdict,
)
from app.usable import is_current

MOST = 10
"""Answers that can be looked at and changed."""
DAYS = 14
"""Of the pace that is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An answer that stands, with what it was about."""

    label_id: UUID
    revision: int
    lease: Lease
    """Prompt and samples in the order shown; the lease itself is over."""
    verdict: Verdict
    choice: UUID | None
    strength: int | None
    answers: dict[str, int | str]
    answered_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A labeler's answers of one day, UTC."""

    day: datetime
    answers: int
    seconds: float | None
    """Median time from shown to answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A reward model that learned from a labeler's answers."""

    number: int
    mine: int
    """Of its labels."""
    labels: int
    policies: tuple[int, ...]
    """Numbers of the policies trained toward it."""


def recent(session: Session, labeler_id: UUID, run_id: UUID, *, count: int = MOST) -> list[Answered]:
    """A labeler's newest answers that stand, newest first."""
    query = (
        select(Label)
        .join(Comparison, Comparison.id == Label.comparison_id)
        .where(
            Label.labeler_id == labeler_id,
            Comparison.run_id == run_id,
            Label.verdict.in_(ANSWERS),
            is_current(),
        )
        .order_by(Label.created_at.desc())
        .limit(count)
    )
    labels = session.scalars(query).all()
    said = answers.stored(session, {label.id for label in labels})
    return [
        Answered(
            label_id=label.id,
            revision=label.revision,
            lease=described(session, label.assignment_id),
            verdict=label.verdict,
            choice=label.chosen_sample_id,
            strength=label.strength,
            answers=said.get(label.id, {}),
            answered_at=label.created_at,
        )
        for label in labels
    ]


def pace(session: Session, labeler_id: UUID, run_id: UUID) -> list[Day]:
    """Answers by day, newest first, of the last days with any."""
    day = func.date_trunc("day", Label.created_at, "UTC")
    median = func.percentile_cont(0.5).within_group(Label.milliseconds)
    query = (
        select(day, func.count(), median)
        .join(Comparison, Comparison.id == Label.comparison_id)
        .where(Label.labeler_id == labeler_id, Comparison.run_id == run_id, Label.verdict.in_(CLOSING), is_current())
        .group_by(day)
        .order_by(day.desc())
        .limit(DAYS)
    )
    return [
        Day(day=when, answers=count, seconds=None if middle is None else middle / 1000)
        for when, count, middle in session.execute(query)
    ]


def effects(session: Session, labeler_id: UUID, run_id: UUID) -> list[Effect]:
    """Reward models that learned from a labeler's answers, newest first, and the policies trained toward them."""
    mine = func.count().filter(Label.labeler_id == labeler_id)
    models = (
        select(Checkpoint.id, Checkpoint.number, mine, func.count())
        .join(LabelSetItem, LabelSetItem.label_set_id == Checkpoint.label_set_id)
        .join(Label, Label.id == LabelSetItem.label_id)
        .where(Checkpoint.run_id == run_id, Checkpoint.kind == CheckpointKind.REWARD_MODEL)
        .group_by(Checkpoint.id)
        .having(mine > 0)
        .order_by(Checkpoint.number.desc())
    )
    rows = session.execute(models).all()
    policies = _policies(session, [model_id for model_id, *_ in rows])
    return [
        Effect(number=number, mine=own, labels=total, policies=tuple(policies.get(model_id, ())))
        for model_id, number, own, total in rows
    ]


def _policies(session: Session, model_ids: Sequence[UUID]) -> dict[UUID, list[int]]:
    query = select(Checkpoint.reward_model_id, Checkpoint.number).where(
        Checkpoint.kind == CheckpointKind.POLICY, Checkpoint.reward_model_id.in_(model_ids)
    )
    found: dict[UUID, list[int]] = {}
    for model_id, number in session.execute(query.order_by(Checkpoint.number)):
        assert model_id is not None, "the condition"
        found.setdefault(model_id, []).append(number)
    return found
