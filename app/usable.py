"""Which labels count: the one definition that the schedule, the trainers and the reports share.

A label is *current* when no later revision of the same labeler and comparison exists. It *stands* when it is current,
its labeler is neither disabled nor excluded from the run, and nobody has flagged its comparison. It is *usable* when
it stands, tells of the models and not of the labeler, is not surplus (unless the run asks for that), its verdict is one
of those asked for, and it is the earliest such label of its comparison. Trainers and the schedule ask for
`RewardHParams.used_verdicts` of the run; who needs to know the best sample asks for `best` alone.
It *trains* when, besides, the comparison's purpose trains and its prompt is of the train split.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from app.models import Account, Comparison, ComparisonState, Exclusion, Label, Prompt, Purpose, Split, Verdict

Id = UUID | InstrumentedAttribute[UUID]
TRAINING_PURPOSES = (Purpose.TRAIN, Purpose.VALIDATION)
QUEUED = (*TRAINING_PURPOSES, Purpose.EVALUATION)
"""Purposes of comparisons that wait in a queue for whoever comes and tell of the models; gold and repeats, which are
mixed in, tell of the people."""


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


def stands() -> ColumnElement[bool]:
    """Condition on `Label`, `Comparison` and `Account`, joined: nothing speaks against it but, maybe, surplus."""
    return and_(
        Comparison.state != ComparisonState.FLAGGED,
        Account.disabled_at.is_(None),
        ~is_excluded(Comparison.run_id, Label.labeler_id),
        is_current(),
    )


def is_excluded(run_id: Id, labeler_id: Id) -> ColumnElement[bool]:
    """Whether the labeler is left out of the run."""
    return (
        select(Exclusion.id)
        .where(Exclusion.run_id == run_id, Exclusion.labeler_id == labeler_id, Exclusion.lifted_at.is_(None))
        .exists()
    )


def usable_labels(
    run_id: UUID,
    verdicts: Sequence[Verdict] = (Verdict.BEST,),
    *,
    surplus: bool = False,
    without: UUID | None = None,
) -> Select[Label]:
    """Usable labels of a run, one per comparison, whatever the purpose and split; surplus only as a stand-in.

    With `without`: those there would be if that labeler were left out.
    """
    return (
        select(Label)
        .ext(distinct_on(Label.comparison_id))
        .join(Comparison, Comparison.id == Label.comparison_id)
        .join(Account, Account.id == Label.labeler_id)
        .where(
            Comparison.run_id == run_id,
            Comparison.purpose.in_(QUEUED),
            Label.verdict.in_(verdicts),
            *(() if surplus else (Label.surplus.is_(False),)),
            *(() if without is None else (Label.labeler_id != without,)),
            stands(),
        )
        .order_by(Label.comparison_id, Label.surplus, Label.created_at)
    )


def training_labels(
    run_id: UUID, verdicts: Sequence[Verdict], *, surplus: bool = False, without: UUID | None = None
) -> Select[Label]:
    """Usable labels that may train: right purpose, prompt of the train split."""
    return (
        usable_labels(run_id, verdicts, surplus=surplus, without=without)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .where(Comparison.purpose.in_(TRAINING_PURPOSES), Prompt.split == Split.TRAIN)
    )


def count_training(
    session: Session, run_id: UUID, verdicts: Sequence[Verdict] = (Verdict.BEST,), *, surplus: bool = False
) -> int:
    """How many labels the schedule may count.

    Comparisons that were settled count by an index, all others by their labels. Settled they are by what the run uses,
    so ask for that.
    """
    settled = select(func.count()).where(Comparison.run_id == run_id, Comparison.trains.is_(True))
    labels = training_labels(run_id, verdicts, surplus=surplus).where(Comparison.trains.is_(None))
    others = select(func.count()).select_from(labels.subquery())
    return session.scalar(select(settled.scalar_subquery() + others.scalar_subquery())) or 0
