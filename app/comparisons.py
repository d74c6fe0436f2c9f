"""Comparisons: make them, count the supply, retire the stale.

A comparison is *fresh* while fewer than two promotions came after it. Only fresh comparisons nobody has answered
count as supply, so that a new policy's samples are written while those of an old one still lie there; the old are
retired as the new arrive.
"""

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, literal_column, or_, select, update
from sqlalchemy.orm import Session

from app.errors import InvalidError
from app.hparams import CollectionHParams, TaskHParams
from app.models import (
    Assignment,
    AssignmentState,
    Comparison,
    ComparisonSample,
    ComparisonState,
    ContestItem,
    Label,
    Prompt,
    Purpose,
    Run,
    Split,
    Verdict,
)
from app.usable import QUEUED, TRAINING_PURPOSES, is_current

PREFETCH = 3
"""Comparisons a labeler's browser holds ahead of the one on the screen."""
LEAST_SUPPLY = 16
ACTIVE_MINUTES = 5
"""A labeler is active for so long after each comparison they got."""
STALE_PROMOTIONS = 2
CLOSING = (Verdict.BEST, Verdict.TIE, Verdict.NONE)
"""Verdicts that answer the question; a skip gives it to somebody else."""
ANSWERS = (*CLOSING, Verdict.SKIP)
"""Verdicts after which a labeler does not see a comparison again, unless they undo."""


def create(
    session: Session,
    *,
    run: Run,
    prompt_id: UUID,
    sample_ids: Sequence[UUID],
    policy_id: UUID,
    purpose: Purpose,
    wanted: int = 1,
    repeat_of_id: UUID | None = None,
    samples: int | None = None,
) -> Comparison:
    """Put a question to `wanted` people; gold, to all who come.

    Args:
        samples: how many there are; None: as many as the run's task compares.
    Raises: InvalidError unless there are so many different samples.
    """
    k = samples or TaskHParams.model_validate(run.hparams["task"]).samples_per_comparison
    if len(set(sample_ids)) != k or len(sample_ids) != k:
        raise InvalidError(f"A comparison of this run takes {k} different samples, not {len(set(sample_ids))}.")
    made = Comparison(
        run_id=run.id,
        prompt_id=prompt_id,
        policy_id=policy_id,
        promotion=run.promotions,
        purpose=purpose,
        wanted=None if purpose == Purpose.GOLD else wanted,
        repeat_of_id=repeat_of_id,
        trains=False,  # nobody has answered it
    )
    session.add(made)
    session.flush()
    members = (ComparisonSample(comparison_id=made.id, slot=slot, sample_id=id_) for slot, id_ in enumerate(sample_ids))
    session.add_all(members)
    session.flush()
    return made


def draw_wanted(collection: CollectionHParams, rng: random.Random) -> int:
    """How many people a new comparison wants: a share of them wants several, so that agreement can be measured."""
    return collection.overlap_labelers if rng.random() < collection.overlap_share else 1


def ready_count(session: Session, run_id: UUID) -> int:
    """Fresh comparisons that anybody may get now: nobody holds them, nobody answered or skipped them."""
    return sum(_count(session, which.where(~has_active_lease())) for which in _open(run_id))


def open_count(session: Session, run_id: UUID, trainable: bool, *, most: int | None = None) -> int:
    """Comparisons out or waiting, not yet answered or skipped, whose labels will train (or will not).

    A stale one counts only while somebody holds it. Counted up to `most`: there may be a million.
    """
    trains = and_(Comparison.purpose.in_(TRAINING_PURPOSES), Prompt.split == Split.TRAIN)
    asked = (trains if trainable else ~trains, Comparison.prompt_id == Prompt.id)
    found = sum(_count(session, which.where(*asked).limit(most)) for which in _open(run_id))
    return found if most is None else min(found, most)


def supply_target(session: Session, run_id: UUID, *, prefetch: int = PREFETCH) -> int:
    """How many comparisons should be ready: enough for each active labeler's screen and queue, twice."""
    since = func.now() - timedelta(minutes=ACTIVE_MINUTES)
    active = session.scalar(
        select(func.count(Assignment.labeler_id.distinct()))
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .where(Comparison.run_id == run_id, Comparison.origin.is_(None), Assignment.created_at > since)
    )
    return max(LEAST_SUPPLY, 2 * (active or 0) * (prefetch + 1))


def retire_stale(session: Session, run: Run) -> int:
    """Retire stale comparisons nobody holds or answered, oldest first, one for each fresh one that is ready."""
    old = select(Comparison.id).where(
        Comparison.run_id == run.id,
        Comparison.state == ComparisonState.READY,
        Comparison.purpose.in_(QUEUED),
        Comparison.promotion <= run.promotions - STALE_PROMOTIONS,
        ~_of_contest(),
        ~has_active_lease(),
    )
    if session.scalar(old.limit(1)) is None:
        return 0  # as at most looks: nothing need be counted
    stale = (
        old.order_by(Comparison.promotion, Comparison.created_at)
        .limit(ready_count(session, run.id))
        .with_for_update(skip_locked=True)
    )
    # A lease may have been committed between that query's look and its lock; none can be while the locks are held.
    retired = session.scalars(
        update(Comparison)
        .where(Comparison.id.in_(session.scalars(stale).all()), ~has_active_lease())
        .values(state=ComparisonState.RETIRED, closed_at=func.clock_timestamp())
        .returning(Comparison.id)
    )
    return len(retired.all())


def has_active_lease() -> ColumnElement[bool]:
    """Condition on `Comparison`: somebody holds it and their time has not run out."""
    return (
        select(Assignment.id)
        .where(
            Assignment.comparison_id == Comparison.id,
            Assignment.state == AssignmentState.LEASED,
            Assignment.expires_at > func.now(),
        )
        .exists()
    )


def has_answer(labeler_id: UUID | None = None, verdicts: Sequence[Verdict] = ANSWERS) -> ColumnElement[bool]:
    """Condition on `Comparison`: it has a current label of these verdicts, by this labeler or (None) by anybody."""
    query = select(Label.id).where(Label.comparison_id == Comparison.id, Label.verdict.in_(verdicts), is_current())
    return looked_up(query if labeler_id is None else query.where(Label.labeler_id == labeler_id))


def looked_up(query: Select[Any]) -> ColumnElement[bool]:
    """Whether a query that an index answers finds a row: asked for each row that comes into question, never joined.

    A join reads all that somebody ever did, or the whole table where PostgreSQL does not know the somebody yet.
    """
    return query.offset(literal_column("0")).exists()


def _of_contest() -> ColumnElement[bool]:
    """Condition on `Comparison`: it belongs to a head-to-head, which grows no older."""
    return select(ContestItem.comparison_id).where(ContestItem.comparison_id == Comparison.id).exists()


def _open(run_id: UUID) -> tuple[Select[UUID], Select[UUID]]:
    """What nobody touched, by the mark of it (`app/settling.py`); and what somebody touched, by its labels."""
    fresh = Comparison.promotion > Run.promotions - STALE_PROMOTIONS
    waiting = (
        select(Comparison.id)
        .join(Run, Run.id == Comparison.run_id)
        .where(
            Comparison.run_id == run_id,
            Comparison.state == ComparisonState.READY,
            Comparison.purpose.in_(QUEUED),
            or_(fresh, has_active_lease()),
        )
    )
    return waiting.where(Comparison.trains.is_(False)), waiting.where(Comparison.trains.is_(None), ~has_answer())


def _count(session: Session, query: Select[UUID]) -> int:
    return session.scalar(select(func.count()).select_from(query.subquery())) or 0
