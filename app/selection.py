"""Which comparisons a labeler gets: from the queue, by age or by disagreement, with gold and repeats mixed in.

What is mixed in takes the place of a comparison of the queue, so that it never comes when nothing else would, and
nothing that a labeler is sent tells it apart.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, select
from sqlalchemy.orm import Session, aliased

from app import comparisons, hot
from app.comparisons import CLOSING, has_answer, looked_up
from app.hparams import CollectionHParams
from app.models import (
    Assignment,
    AssignmentState,
    Comparison,
    ComparisonSample,
    ComparisonState,
    Label,
    Purpose,
    Run,
    SampleScore,
)
from app.usable import QUEUED, is_current

POOL = 64
"""Comparisons at hand among which disagreement chooses: the first of the queue."""
REPEAT_MINUTES = 10
"""A comparison is not repeated sooner: the answer would be remembered."""
REMEMBERED = 200
"""Of so many of a labeler's newest labels one may be repeated."""


class Pick(NamedTuple):
    """A comparison for a labeler; it is locked."""

    comparison_id: UUID
    propensity: float | None
    """Probability with which it was taken, given those at hand; None where age decided."""


class AtHand(NamedTuple):
    """A free comparison of the queue."""

    comparison_id: UUID
    purpose: Purpose
    disagreement: float | None
    """Mean over its samples; None where no ensemble has scored them."""


def queued(session: Session, labeler_id: UUID, run: Run, collection: CollectionHParams, count: int) -> list[Pick]:
    """At most `count` comparisons of the queue, in the order to show; the labeler must be locked."""
    if collection.selection == "disagreement":
        return _by_disagreement(session, labeler_id, run, collection.random_share, count)
    return [Pick(id_, None) for id_ in session.scalars(_first(labeler_id, run.id, count))]


def plan(collection: CollectionHParams, count: int, rng: random.Random) -> list[Purpose | None]:
    """What each of `count` places should hold: gold, a repeat or (None) what the queue gives."""
    gold, repeat = collection.gold_share, collection.gold_share + collection.repeat_share
    dice = (rng.random() for _ in range(count))
    return [Purpose.GOLD if one < gold else Purpose.REPEAT if one < repeat else None for one in dice]


def mixes(session: Session, labeler_id: UUID, run_id: UUID, planned: Sequence[Purpose | None]) -> bool:
    """Whether something may be mixed in; mostly there is nothing, which this sees faster than a search does."""
    known = {"labeler": labeler_id, "run": run_id}
    if Purpose.GOLD in planned and hot.rows(session, hot.HAS_GOLD, **known):
        return True
    return Purpose.REPEAT in planned and bool(hot.rows(session, hot.HAS_PAST, minutes=REPEAT_MINUTES, **known))


def mixed(
    session: Session, labeler_id: UUID, run: Run, planned: Sequence[Purpose | None], queue: Sequence[Pick]
) -> list[Pick]:
    """The same, with gold and repeats in the planned places, where there are any for this labeler."""
    seen, picks = set[UUID](), list[Pick]()
    for one, kind in zip(queue, planned, strict=False):
        other = None
        if kind == Purpose.GOLD:
            other = _gold(session, labeler_id, run.id, seen)
        elif kind == Purpose.REPEAT:
            other = _repeat(session, labeler_id, run, seen)
        picks.append(one if other is None else Pick(other, None))
    return picks


def draw(at_hand: Sequence[AtHand], count: int, random_share: float, rng: random.Random) -> list[Pick]:
    """`count` comparisons of those at hand, one after the other.

    The oldest that is left decides the purpose, so that purposes keep their shares. Training comparisons are then taken
    by disagreement, or evenly with probability `random_share`; others by age, for what measures must not be chosen.
    """
    left, drawn = list(at_hand), list[Pick]()
    while left and len(drawn) < count:
        taken, propensity = left[0], None
        if taken.purpose == Purpose.TRAIN:
            rivals = [one for one in left if one.purpose == Purpose.TRAIN]
            most = max(rivals, key=lambda one: -1.0 if one.disagreement is None else one.disagreement)
            taken = rng.choice(rivals) if rng.random() < random_share else most
            propensity = random_share / len(rivals) + (1 - random_share) * (taken is most)
        left.remove(taken)
        drawn.append(Pick(taken.comparison_id, propensity))
    return drawn


def is_free() -> ColumnElement[bool]:
    """Condition on `Comparison`: it waits in the queue and wants more answers than were and are being given."""
    wants_more = Comparison.answers + Comparison.leased < Comparison.wanted
    return and_(Comparison.state == ComparisonState.READY, Comparison.purpose.in_(QUEUED), wants_more)


def is_open_to(labeler_id: UUID) -> ColumnElement[bool]:
    """Condition on `Comparison`: this labeler neither holds it nor answered or skipped it, nor met it in another guise.

    A gold comparison is a copy: whoever got the one must not get the other.
    """
    gold = aliased(Comparison)
    as_gold = (
        select(Assignment.id)
        .join(gold, gold.id == Assignment.comparison_id)
        .where(gold.repeat_of_id == Comparison.id, gold.purpose == Purpose.GOLD, Assignment.labeler_id == labeler_id)
    )
    its_source = select(Assignment.id).where(
        Assignment.comparison_id == Comparison.repeat_of_id, Assignment.labeler_id == labeler_id
    )
    met = (looked_up(as_gold), looked_up(its_source))
    return and_(~_is_held_by(labeler_id), ~has_answer(labeler_id), *(~one for one in met))


def _first(labeler_id: UUID, run_id: UUID, count: int) -> Select[UUID]:
    """Locked; a comparison that changed while the query waited for it is looked at again by PostgreSQL."""
    return (
        select(Comparison.id)
        .where(Comparison.run_id == run_id, is_free(), is_open_to(labeler_id))
        .order_by(Comparison.promotion.desc(), Comparison.created_at)
        .limit(count)
        .with_for_update(skip_locked=True, key_share=True)
    )


def _by_disagreement(session: Session, labeler_id: UUID, run: Run, random_share: float, count: int) -> list[Pick]:
    """Drawn without locks, then locked; what somebody else took meanwhile is left out."""
    spread = (
        select(func.avg(SampleScore.disagreement))
        .join(ComparisonSample, ComparisonSample.sample_id == SampleScore.sample_id)
        .where(ComparisonSample.comparison_id == Comparison.id, SampleScore.reward_model_id == run.reward_model_id)
        .scalar_subquery()
    )
    pool = (
        select(Comparison.id, Comparison.purpose, spread)
        .where(Comparison.run_id == run.id, is_free(), is_open_to(labeler_id))
        .order_by(Comparison.promotion.desc(), Comparison.created_at)
        .limit(POOL)
    )
    at_hand = [AtHand(*row) for row in session.execute(pool)]
    drawn = draw(at_hand, count, random_share, random.SystemRandom())
    still = select(Comparison.id).where(Comparison.id.in_([one.comparison_id for one in drawn]), is_free())
    locked = set(session.scalars(still.with_for_update(skip_locked=True, key_share=True)))
    return [one for one in drawn if one.comparison_id in locked]


def _gold(session: Session, labeler_id: UUID, run_id: UUID, seen: set[UUID]) -> UUID | None:
    """A gold comparison that this labeler has not answered, drawn evenly."""
    unseen = (
        select(Comparison.id)
        .where(
            Comparison.run_id == run_id,
            Comparison.purpose == Purpose.GOLD,
            Comparison.state == ComparisonState.READY,
            Comparison.id.not_in(seen),
            is_open_to(labeler_id),
        )
        .order_by(func.random())
        .limit(1)
    )
    found = session.scalar(unseen.with_for_update(skip_locked=True, key_share=True))
    return None if found is None else _noted(found, seen)


def _repeat(session: Session, labeler_id: UUID, run: Run, seen: set[UUID]) -> UUID | None:
    """A comparison with the samples of one that this labeler answered a while ago; each is repeated once."""
    again = aliased(Comparison)
    shown_again = (
        select(again.id)
        .join(Assignment, Assignment.comparison_id == again.id)
        .where(again.repeat_of_id == Comparison.id, Assignment.labeler_id == labeler_id)
        .exists()
    )
    remembered = (
        select(Label.comparison_id)
        .where(
            Label.labeler_id == labeler_id,
            Label.verdict.in_(CLOSING),
            Label.created_at < func.now() - func.make_interval(0, 0, 0, 0, 0, REPEAT_MINUTES),
            is_current(),
        )
        .order_by(Label.created_at.desc())
        .limit(REMEMBERED)
    )
    answered = select(Comparison).where(
        Comparison.id.in_(remembered),
        Comparison.id.not_in(seen),
        Comparison.run_id == run.id,
        Comparison.purpose.in_(QUEUED),
        ~shown_again,
    )
    earlier = session.scalar(answered.order_by(func.random()).limit(1))
    if earlier is None:
        return None
    members = select(ComparisonSample.sample_id).where(ComparisonSample.comparison_id == earlier.id)
    made = comparisons.create(
        session,
        run=run,
        prompt_id=earlier.prompt_id,
        sample_ids=session.scalars(members.order_by(ComparisonSample.slot)).all(),
        policy_id=earlier.policy_id,
        purpose=Purpose.REPEAT,
        repeat_of_id=earlier.id,
    )
    _noted(earlier.id, seen)
    return made.id


def _noted(comparison_id: UUID, seen: set[UUID]) -> UUID:
    seen.add(comparison_id)
    return comparison_id


def _is_held_by(labeler_id: UUID) -> ColumnElement[bool]:
    return looked_up(
        select(Assignment.id).where(
            Assignment.comparison_id == Comparison.id,
            Assignment.labeler_id == labeler_id,
            Assignment.state == AssignmentState.LEASED,
        )
    )
