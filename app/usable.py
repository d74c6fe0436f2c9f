"""Which labels count: the one definition that the schedule, the trainers and the reports share.

A label is *current* when no later revision of the same labeler and comparison exists. It is *usable* when it is
current, its verdict is one of those asked for, its labeler is not disabled, nobody has flagged its comparison, and it
is the earliest such label of its comparison. Trainers and the schedule ask for `RewardHParams.used_verdicts` of the
run; who needs to know the best sample asks for `best` alone.
It *trains* when, besides, the comparison's purpose trains and its prompt is of the train split.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session, aliased

from app.models import Account, Comparison, ComparisonState, Label, Prompt, Purpose, Split, Verdict

TRAINING_PURPOSES = (Purpose.TRAIN, Purpose.VALIDATION)


def is_current() -> ColumnElement[bool]:
    """Condition on `Label`: no later revision supersedes it."""
    later = aliased(Label)
    return ~(
        select(later.id)
        .where(
            later.comparison_id == Label.comparison_id,
            later.labeler_id == Label.labeler_id,
            later.revision > Label.revision,
        )
        .exists()
    )


def usable_labels(run_id: UUID, verdicts: Sequence[Verdict] = (Verdict.BEST,)) -> Select[Label]:
    """Usable labels of a run, one per comparison, whatever the purpose and split."""
    return (
        select(Label)
        .ext(distinct_on(Label.comparison_id))
        .join(Comparison, Comparison.id == Label.comparison_id)
        .join(Account, Account.id == Label.labeler_id)
        .where(
            Comparison.run_id == run_id,
            Comparison.state != ComparisonState.FLAGGED,
            Label.verdict.in_(verdicts),
            Account.disabled_at.is_(None),
            is_current(),
        )
        .order_by(Label.comparison_id, Label.created_at)
    )


def training_labels(run_id: UUID, verdicts: Sequence[Verdict]) -> Select[Label]:
    """Usable labels that may train: right purpose, prompt of the train split."""
    return (
        usable_labels(run_id, verdicts)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .where(Comparison.purpose.in_(TRAINING_PURPOSES), Prompt.split == Split.TRAIN)
    )


def count_training(session: Session, run_id: UUID, verdicts: Sequence[Verdict] = (Verdict.BEST,)) -> int:
    """How many labels the schedule may count."""
    return session.scalar(select(func.count()).select_from(training_labels(run_id, verdicts).subquery())) or 0
