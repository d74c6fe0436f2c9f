"""Samples: what a policy wrote, and what reward models thought of it."""

from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Dated, Keyed, enum_column


class SamplePurpose(StrEnum):
    """Why it was written."""

    COMPARISON = "comparison"
    SHOWCASE = "showcase"
    """The dashboard's fixed test prompts, continued by each policy."""
    GENERATE = "generate"
    CONTEST = "contest"
    """For a blind head-to-head; `ContestItem` knows whose it is, for a text of people has no policy."""


class Sample(Keyed, Dated, Base):
    """One answer of one policy to one prompt."""

    __tablename__ = "sample"
    __table_args__ = (Index("ix_sample_run_id_purpose", "run_id", "purpose", "created_at"),)

    run_id: Mapped[UUID] = mapped_column(ForeignKey("run.id", ondelete="RESTRICT"))
    prompt_id: Mapped[UUID] = mapped_column(ForeignKey("prompt.id", ondelete="RESTRICT"), index=True)
    policy_id: Mapped[UUID] = mapped_column(ForeignKey("checkpoint.id", ondelete="RESTRICT"), index=True)
    purpose: Mapped[SamplePurpose] = mapped_column(enum_column(SamplePurpose))
    text: Mapped[str]
    """Decoded after truncation: what people see."""
    token_ids: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    """All sampled ids, truncation not applied."""
    logprobs: Mapped[list[float]] = mapped_column(ARRAY(Float))
    """Of each sampled id under the policy at this temperature, in nats."""
    kept_tokens: Mapped[int]
    """How many of the ids the text holds."""
    valid: Mapped[bool]
    """A terminator was found in time."""
    temperature: Mapped[float | None]
    """None: it was written elsewhere, and imported."""
    seed: Mapped[int] = mapped_column(BigInteger)
    """Seed of the batch's generator; with the job's prompts it makes the same samples again."""
    rejected: Mapped[int] = mapped_column(default=0)
    """Invalid samples of this prompt thrown away before enough valid ones were found."""


class SampleReading(Dated, Base):
    """How far the policy was from the reference, token by token, when it wrote a sample."""

    __tablename__ = "sample_reading"

    sample_id: Mapped[UUID] = mapped_column(ForeignKey("sample.id", ondelete="CASCADE"), primary_key=True)
    kl: Mapped[float]
    """Sum of `token_kl`: an estimate from one sample of the KL of the response, in nats."""
    token_kl: Mapped[list[float]] = mapped_column(ARRAY(Float))
    """Of each kept token, its log-probability under the policy less that under the reference, in nats."""
    token_ends: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    """Where each kept token ends in the text, in characters."""


class SampleScore(Dated, Base):
    """One reward model's score of one sample, stored before any label of it trains that model."""

    __tablename__ = "sample_score"

    sample_id: Mapped[UUID] = mapped_column(ForeignKey("sample.id", ondelete="CASCADE"), primary_key=True)
    reward_model_id: Mapped[UUID] = mapped_column(
        ForeignKey("checkpoint.id", ondelete="RESTRICT"), primary_key=True, index=True
    )
    score: Mapped[float]
    disagreement: Mapped[float | None]
    """Standard deviation over the members of an ensemble, in units of the score; None where one model scored."""
