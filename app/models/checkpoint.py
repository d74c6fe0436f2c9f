"""Checkpoints: published weights, and the training state a run goes on from."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Dated, Keyed, enum_column


class CheckpointKind(StrEnum):
    """What the weights are."""

    REFERENCE = "reference"
    """The base model, where the policy starts and the KL penalty pulls to."""
    POLICY = "policy"
    """A published policy."""
    EXTERNAL = "external"
    """A policy of elsewhere whose samples were imported with their labels; it has no files here."""
    REWARD_MODEL = "reward_model"
    TRAINING_STATE = "training_state"
    """Policy, value head, optimizer, KL coefficient, random state: what PPO resumes from."""


class Standing(StrEnum):
    """How far a published policy got."""

    CANDIDATE = "candidate"
    APPROVED = "approved"
    """It served, or does."""
    HELD = "held"
    """It was kept from serving."""
    DEMOTED = "demoted"
    """It served and lost blind comparisons against the reference."""
    PASSED_OVER = "passed_over"
    """It was published while another was on trial."""


class Checkpoint(Keyed, Dated, Base):
    """Immutable files under one digest, and how they came to be. Written after the files are synced."""

    __tablename__ = "checkpoint"
    __table_args__ = (Index("ix_checkpoint_run_id_kind", "run_id", "kind", "created_at"),)

    run_id: Mapped[UUID] = mapped_column(ForeignKey("run.id", ondelete="RESTRICT"))
    kind: Mapped[CheckpointKind] = mapped_column(enum_column(CheckpointKind))
    digest: Mapped[str]
    """Names the folder in the checkpoint store; for a reference the folder of the base model."""
    number: Mapped[int]
    """Counts from 0 per run and kind; what people see as a name, e.g. policy 3."""
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("checkpoint.id", ondelete="RESTRICT"))
    """The policy, reference or training state it went on from."""
    reward_model_id: Mapped[UUID | None] = mapped_column(ForeignKey("checkpoint.id", ondelete="RESTRICT"))
    """Policies: the reward model of their last update."""
    label_set_id: Mapped[UUID | None] = mapped_column(ForeignKey("label_set.id", ondelete="RESTRICT"))
    """Reward models: the labels they were fitted on."""
    episodes: Mapped[int] = mapped_column(default=0)
    """PPO episodes behind these weights."""
    kl_coef: Mapped[float | None]
    standing: Mapped[Standing | None] = mapped_column(enum_column(Standing))
    """Policies alone."""
    report: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Figures of its making: held-out accuracy, gain, bias, chosen head, KL."""
    removed_at: Mapped[datetime | None]
    """Its files are gone since then; the row stays, for the lineage."""

    @property
    def name(self) -> str:
        """What people read of one that writes: reference, policy 3, imported 0."""
        if self.kind == CheckpointKind.REFERENCE:
            return "reference"
        return f"{'imported' if self.kind == CheckpointKind.EXTERNAL else 'policy'} {self.number}"
