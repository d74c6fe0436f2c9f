"""What happened to a run: the marks on its curves."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import String, cast, select
from sqlalchemy.orm import Session

from app.models import Audit, Checkpoint, CheckpointKind, LabelSet

LISTED = 400


class EventKind(StrEnum):
    """What happened."""

    REWARD_MODEL = "reward_model"
    """A reward model was fitted."""
    PROMOTION = "promotion"
    """A policy began to write the samples that people see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One happening."""

    kind: EventKind
    number: int
    """Of the reward model or policy."""
    at: datetime
    episodes: int
    """PPO episodes of the run by then; of a promoted policy the episodes behind it."""
    labels: int | None
    """Labels that a reward model was fitted on; None for a policy."""


def events(session: Session, run_id: UUID) -> tuple[Event, ...]:
    """The newest reward trainings and promotions, oldest first."""
    found = [*_reward_models(session, run_id), *_promotions(session, run_id)]
    return tuple(sorted(found, key=lambda event: event.at))


def _reward_models(session: Session, run_id: UUID) -> list[Event]:
    rows = session.execute(
        select(Checkpoint.number, Checkpoint.created_at, Checkpoint.episodes, LabelSet.size)
        .outerjoin(LabelSet, LabelSet.id == Checkpoint.label_set_id)
        .where(Checkpoint.run_id == run_id, Checkpoint.kind == CheckpointKind.REWARD_MODEL)
        .order_by(Checkpoint.created_at.desc())
        .limit(LISTED)
    )
    return [
        Event(kind=EventKind.REWARD_MODEL, number=number, at=at, episodes=episodes, labels=labels)
        for number, at, episodes, labels in rows
    ]


def _promotions(session: Session, run_id: UUID) -> list[Event]:
    promoted = Audit.detail["policy"].as_string()
    rows = session.execute(
        select(Checkpoint.number, Audit.created_at, Checkpoint.episodes)
        .join(Checkpoint, promoted == cast(Checkpoint.id, String))
        .where(Audit.run_id == run_id, Audit.action == "policy.promoted")
        .order_by(Audit.created_at.desc())
        .limit(LISTED)
    )
    return [
        Event(kind=EventKind.PROMOTION, number=number, at=at, episodes=episodes, labels=None)
        for number, at, episodes in rows
    ]
