"""Runs: one policy learning from one stream of labels."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Dated, Keyed, enum_column


class Phase(StrEnum):
    """Whether a run may act; the legal changes stand in `app.runs`."""

    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    """All episodes are done; people may still label what is out."""
    STOPPED = "stopped"


class Run(Keyed, Dated, Base):
    """One policy learning from one stream of labels."""

    __tablename__ = "run"

    name: Mapped[str]
    base_model: Mapped[str]
    """Hub id, folder, or name of a base model, as given when the run was created."""
    hparams: Mapped[dict[str, Any]]
    """`app.hparams.RunHParams` as JSON; never changed."""
    phase: Mapped[Phase] = mapped_column(enum_column(Phase), default=Phase.RUNNING)
    note: Mapped[str | None]
    """Why it is paused or stopped, for people."""
    reference_id: Mapped[UUID | None] = mapped_column(ForeignKey("checkpoint.id", use_alter=True))
    serving_id: Mapped[UUID | None] = mapped_column(ForeignKey("checkpoint.id", use_alter=True))
    """The policy that writes the samples people see."""
    candidate_id: Mapped[UUID | None] = mapped_column(ForeignKey("checkpoint.id", use_alter=True))
    """Published, not yet let through the guards."""
    training_state_id: Mapped[UUID | None] = mapped_column(ForeignKey("checkpoint.id", use_alter=True))
    """PPO goes on from here."""
    reward_model_id: Mapped[UUID | None] = mapped_column(ForeignKey("checkpoint.id", use_alter=True))
    episodes: Mapped[int] = mapped_column(default=0)
    """PPO episodes done, all within `training_state_id`."""
    promotions: Mapped[int] = mapped_column(default=0)
    labels_usable: Mapped[int] = mapped_column(default=0)
    """Labels that count for the schedule, as of the last look."""
    labels_required: Mapped[int] = mapped_column(default=0)
    """Labels the schedule wants before the next update, as of the last look."""
    waiting_for: Mapped[str | None]
    """What the run waits for now, for people: labels, samples, a reward model."""
