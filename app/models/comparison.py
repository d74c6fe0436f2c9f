"""Comparisons: samples of one prompt, the question put to a person."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Dated, Keyed, enum_column


class Purpose(StrEnum):
    """What its labels are for; only the first two train anything."""

    TRAIN = "train"
    VALIDATION = "validation"
    """Two samples of the reference against two of a policy."""
    GOLD = "gold"
    """Its right answer is known; mixed in secretly."""
    PRACTICE = "practice"
    REPEAT = "repeat"
    """Shown to the same labeler before."""
    EVALUATION = "evaluation"
    """On prompts of the valid or test split: measures, never trains."""
    SESSION = "session"
    """Of a head-to-head that people answer in a session of its own: measures, and never stands in the queue."""


class ComparisonState(StrEnum):
    """Where it stands; who holds it is the assignments' matter."""

    READY = "ready"
    LABELED = "labeled"
    RETIRED = "retired"
    """Its samples grew too old before anybody looked."""
    FLAGGED = "flagged"
    """A labeler took it out of the queue for a researcher to see."""


class Comparison(Keyed, Dated, Base):
    """As many samples of one prompt as the run's task compares."""

    __tablename__ = "comparison"
    __table_args__ = (
        Index(
            "ix_comparison_queue", "run_id", text("promotion desc"), "created_at", postgresql_where="state = 'ready'"
        ),
        Index("ix_comparison_gold", "run_id", postgresql_where="purpose = 'gold' and state = 'ready'"),
        Index("ix_comparison_repeat_of_id", "repeat_of_id", postgresql_where="repeat_of_id is not null"),
        Index("ix_comparison_trains", "run_id", postgresql_where="trains is true"),
        Index("ix_comparison_unsettled", "run_id", postgresql_where="trains is null"),
        CheckConstraint("answers <= wanted", name="answers_within_wanted"),
        CheckConstraint("answers >= 0 and leased >= 0", name="counts_not_negative"),
    )

    run_id: Mapped[UUID] = mapped_column(ForeignKey("run.id", ondelete="RESTRICT"))
    prompt_id: Mapped[UUID] = mapped_column(ForeignKey("prompt.id", ondelete="RESTRICT"), index=True)
    policy_id: Mapped[UUID] = mapped_column(ForeignKey("checkpoint.id", ondelete="RESTRICT"))
    """The policy that was serving when it was made."""
    promotion: Mapped[int]
    """How many promotions the run had seen then: its age."""
    purpose: Mapped[Purpose] = mapped_column(enum_column(Purpose))
    state: Mapped[ComparisonState] = mapped_column(enum_column(ComparisonState), default=ComparisonState.READY)
    closed_at: Mapped[datetime | None]
    wanted: Mapped[int | None]
    """How many people should answer; None: all who come, as with gold."""
    answers: Mapped[int] = mapped_column(default=0)
    """Answers that count, of as many people."""
    leased: Mapped[int] = mapped_column(default=0)
    """Leases that run; who changes an assignment's state keeps this in step, with the comparison locked."""
    repeat_of_id: Mapped[UUID | None] = mapped_column(ForeignKey("comparison.id", ondelete="RESTRICT"))
    """The comparison that this one shows again: a repeat to the same labeler, gold to others."""
    trains: Mapped[bool | None]
    """Whether one of its labels trains, at first none; None: not looked at since a change (`app/settling.py`)."""
    origin: Mapped[dict[str, Any] | None]
    """File, its sha256 and the job that imported it with its labels; None: it was made here."""


class ComparisonSample(Base):
    """Membership of a sample in a comparison. `slot` only keeps them apart: nobody is shown this order."""

    __tablename__ = "comparison_sample"
    __table_args__ = (
        UniqueConstraint("comparison_id", "sample_id"),
        CheckConstraint("slot >= 0", name="slot_not_negative"),
    )

    comparison_id: Mapped[UUID] = mapped_column(ForeignKey("comparison.id", ondelete="CASCADE"), primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True)
    sample_id: Mapped[UUID] = mapped_column(ForeignKey("sample.id", ondelete="RESTRICT"), index=True)
