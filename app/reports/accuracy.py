"""Leak-free accuracy: each label is a test of the reward models that had not seen its prompt."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Select, Subquery, func, select, true
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session, aliased

from app import quality, usable
from app.models import Checkpoint, CheckpointKind, Comparison, ComparisonSample, Label, LabelSetItem, SampleScore

TRIED = 20
"""Labels looked at for each one asked for: where prompts come back often, hardly any label tests a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How often the highest score was the sample that people chose."""

    right: int
    n: int
    low: float
    """Ends of the 95 % Wilson interval of right / n; chance is 1/k for k samples."""
    high: float

    @property
    def value(self) -> float | None:
        """Share of right ones; None without labels."""
        return self.right / self.n if self.n else None


def incoming_accuracy(session: Session, run_id: UUID, last: int = 200, *, labeler_id: UUID | None = None) -> Accuracy:
    """Accuracy on the newest usable labels (of one labeler), at most `last`, that test a reward model without leaking.

    A label counts if some reward model scored all samples of its comparison before the label came, and was fitted on
    no label of the same prompt; the newest such model is the one tested. Equal highest scores are told apart by sample
    id, which is random, so that a model without an opinion gets what chance gives.
    """
    found = session.execute(_tests(run_id, last, labeler_id)).all()
    right = sum(chosen == top for chosen, top in found)
    interval = quality.wilson_interval(right, len(found))
    return Accuracy(right=right, n=len(found), low=interval.low, high=interval.high)


def _tests(run_id: UUID, last: int, labeler_id: UUID | None) -> Select[UUID | None, UUID]:
    """Chosen and highest-scored sample. Labels are sorted before the join, which stops when it has found `last`."""
    usable_labels = usable.usable_labels(run_id)
    found = (usable_labels if labeler_id is None else usable_labels.where(Label.labeler_id == labeler_id)).subquery()
    label = select(found).order_by(found.c.created_at.desc(), found.c.id).limit(last * TRIED).subquery()
    tested = _newest_fair_model(run_id, label)
    return (
        select(label.c.chosen_sample_id, tested.c.top)
        .join(tested, true())
        .order_by(label.c.created_at.desc(), label.c.id)
        .limit(last)
    )


def _newest_fair_model(run_id: UUID, label: Subquery) -> FromClause:
    model = _models_that_scored(run_id, label)
    return select(model.c.top).where(~_saw_prompt_of(label, model)).order_by(model.c.number.desc()).limit(1).lateral()


def _models_that_scored(run_id: UUID, label: Subquery) -> FromClause:
    """One row per model; whether it saw the prompt is asked of these, not of each score."""
    by_score = aggregate_order_by(SampleScore.sample_id, SampleScore.score.desc(), SampleScore.sample_id)
    return (
        select(Checkpoint.number, Checkpoint.label_set_id, func.array_agg(by_score)[1].label("top"))
        .select_from(ComparisonSample)
        .join(SampleScore, SampleScore.sample_id == ComparisonSample.sample_id)
        .join(Checkpoint, Checkpoint.id == SampleScore.reward_model_id)
        .where(
            ComparisonSample.comparison_id == label.c.comparison_id,
            SampleScore.created_at < label.c.created_at,
            Checkpoint.run_id == run_id,
            Checkpoint.kind == CheckpointKind.REWARD_MODEL,
        )
        .group_by(Checkpoint.id)
        .having(func.count() == _samples_of(label))
        .correlate(label)
        .subquery()
    )


def _saw_prompt_of(label: Subquery, model: FromClause) -> ColumnElement[bool]:
    seen, asked = aliased(Comparison), aliased(Comparison)
    return (
        select(LabelSetItem.label_id)
        .join(Label, Label.id == LabelSetItem.label_id)
        .join(seen, seen.id == Label.comparison_id)
        .join(asked, asked.prompt_id == seen.prompt_id)
        .where(LabelSetItem.label_set_id == model.c.label_set_id, asked.id == label.c.comparison_id)
        .correlate(model, label)
        .exists()
    )


def _samples_of(label: Subquery) -> ColumnElement[int]:
    member = aliased(ComparisonSample)
    return (
        select(func.count())
        .select_from(member)
        .where(member.comparison_id == label.c.comparison_id)
        .correlate(label)
        .scalar_subquery()
    )
