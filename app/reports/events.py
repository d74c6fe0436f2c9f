"""What happened to a run: the marks on its curves."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import String, cast, func, select
from sqlalchemy.orm import Session

from app.models import Andon, Audit, Checkpoint, CheckpointKind, LabelSet

LISTED = 400


class EventKind(StrEnum):
    """What happened."""

    REWARD_MODEL = "reward_model"
    """A reward model was fitted."""
    PROMOTION = "promotion"
    """A policy began to write the samples that people see."""
    DEMOTION = "demotion"
    """It gave way to the one before it."""
    ROLL_BACK = "roll_back"
    """PPO went back to it."""
    ANDON = "andon"
    """The cord was pulled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One happening."""

    kind: EventKind
    number: int
    """Of the reward model or policy; pulls of the cord count from 1."""
    at: datetime
    episodes: int
    """PPO episodes of the run by then; of a promoted policy the episodes behind it."""
    labels: int | None
    """Labels that a reward model was fitted on; None for anything else."""
    text: str = ""
    """Why, where somebody said so."""


def events(session: Session, run_id: UUID) -> tuple[Event, ...]:
    """The newest reward trainings and promotions, oldest first."""
    found = [
        *_reward_models(session, run_id),
        *_about_policies(session, run_id),
        *_pulls(session, run_id),
    ]
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


ABOUT_POLICIES = {
    "policy.promoted": EventKind.PROMOTION,
    "policy.demoted": EventKind.DEMOTION,
    "run.rolled_back": EventKind.ROLL_BACK,
}
"""By audit action."""


def _about_policies(session: Session, run_id: UUID) -> list[Event]:
    named = func.coalesce(Audit.detail["policy"].as_string(), Audit.detail["to"].as_string())
    rows = session.execute(
        select(Checkpoint.number, Audit.created_at, Checkpoint.episodes, Audit.action, Audit.detail)
        .join(Checkpoint, named == cast(Checkpoint.id, String))
        .where(Audit.run_id == run_id, Audit.action.in_(ABOUT_POLICIES))
        .order_by(Audit.created_at.desc())
        .limit(LISTED)
    )
    return [
        Event(
            kind=ABOUT_POLICIES[action],
            number=number,
            at=at,
            episodes=detail.get("from_episodes", episodes),
            labels=None,
            text=detail.get("reason") or detail.get("note") or "",
        )
        for number, at, episodes, action, detail in rows
    ]


def _pulls(session: Session, run_id: UUID) -> list[Event]:
    done = (
        select(func.max(Checkpoint.episodes))
        .where(Checkpoint.run_id == run_id, Checkpoint.created_at <= Andon.created_at)
        .scalar_subquery()
    )
    rows = session.execute(
        select(Andon.created_at, done, Andon.reason).where(Andon.run_id == run_id).order_by(Andon.created_at)
    ).all()
    return [
        Event(kind=EventKind.ANDON, number=place + 1, at=at, episodes=episodes or 0, labels=None, text=reason)
        for place, (at, episodes, reason) in enumerate(rows)
    ][-LISTED:]
