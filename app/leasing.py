"""Leases: who holds which comparison, until when, in which order of samples.

Order of locks, the same everywhere: the labeler's own account, then a comparison, then its assignments. Locking the
account makes the requests of one labeler (two tabs, a retry beside its original) follow each other; different
labelers never wait for each other while leasing, because they skip what others have locked.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.comparisons import has_answer
from app.errors import ConflictError, InvalidError, NotFoundError
from app.models import (
    Account,
    Assignment,
    AssignmentState,
    Comparison,
    ComparisonSample,
    ComparisonState,
    Phase,
    Prompt,
    Run,
    Sample,
)

MOST_LEASES = 8
"""Per labeler and request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A comparison lent to a labeler."""

    assignment_id: UUID
    comparison_id: UUID
    prompt: str
    samples: tuple[tuple[UUID, str], ...]
    """Id and text, in the order to show."""
    expires_at: datetime


def lease(session: Session, labeler_id: UUID, run_id: UUID, *, count: int, lease_seconds: int) -> list[Lease]:
    """At most `count` comparisons for a labeler: first those they hold, renewed, then new ones.

    New ones are of the newest policy first, then the oldest; never one that this labeler has answered or skipped.
    Raises: NotFoundError without such a run, InvalidError if `count` is not in 1..8.
    """
    if not 1 <= count <= MOST_LEASES:
        raise InvalidError(f"Ask for 1 to {MOST_LEASES} comparisons at a time, not {count}.")
    run = session.get(Run, run_id)
    if run is None:
        raise NotFoundError("There is no such run.")
    lock_labeler(session, labeler_id)
    _expire(session, Assignment.comparison_id.in_(select(Comparison.id).where(Comparison.run_id == run_id)))
    held = _renew(session, labeler_id, run_id, count, lease_seconds)
    if run.phase != Phase.STOPPED and len(held) < count:
        held += _assign(session, labeler_id, run_id, count - len(held), lease_seconds)
    return _described(session, held)


def lease_again(session: Session, earlier: Assignment, *, lease_seconds: int) -> Lease:
    """Lend a comparison to the same labeler again, in the same order. The comparison must be locked.

    Raises: ConflictError if somebody else holds it.
    """
    _expire(session, Assignment.comparison_id == earlier.comparison_id)
    made = _insert(session, earlier.labeler_id, [(earlier.comparison_id, earlier.shown)], lease_seconds)
    if not made:
        raise ConflictError("Somebody else is looking at this comparison now, so it cannot come back to you.")
    return described(session, made[0])


def described(session: Session, assignment_id: UUID) -> Lease:
    """A lease with its texts."""
    return _described(session, [assignment_id])[0]


def lock_labeler(session: Session, labeler_id: UUID) -> None:
    """Let one request of this labeler work at a time, to the end of the transaction.

    Raises: NotFoundError without such an account.
    """
    lock = select(Account.id).where(Account.id == labeler_id).with_for_update(key_share=True)
    if session.scalar(lock) is None:
        raise NotFoundError("There is no such account.")


def lock_comparison(session: Session, comparison_id: UUID) -> Comparison:
    """A comparison that nobody else changes until the end of the transaction.

    Raises: NotFoundError if there is none.
    """
    lock = select(Comparison).where(Comparison.id == comparison_id).with_for_update()
    found = session.scalar(lock.execution_options(populate_existing=True))
    if found is None:
        raise NotFoundError("There is no such comparison.")
    return found


def latest_assignment(session: Session, labeler_id: UUID, comparison_id: UUID) -> Assignment:
    """The last time this labeler got this comparison.

    Raises: NotFoundError if they never did.
    """
    query = select(Assignment).where(Assignment.labeler_id == labeler_id, Assignment.comparison_id == comparison_id)
    found = session.scalar(
        query.order_by(Assignment.created_at.desc()).limit(1).execution_options(populate_existing=True)
    )
    if found is None:
        raise NotFoundError("This comparison was never given to you.")
    return found


def _expire(session: Session, which: ColumnElement[bool]) -> None:
    """End leases whose time ran out; what another request works on is its matter."""
    over = (
        select(Assignment.id)
        .where(which, Assignment.state == AssignmentState.LEASED, Assignment.expires_at <= func.clock_timestamp())
        .with_for_update(skip_locked=True)
    )
    ids = session.scalars(over).all()
    if ids:
        session.execute(update(Assignment).where(Assignment.id.in_(ids)).values(state=AssignmentState.EXPIRED))


def _renew(session: Session, labeler_id: UUID, run_id: UUID, count: int, lease_seconds: int) -> list[UUID]:
    mine = (
        select(Assignment.id)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .where(
            Assignment.labeler_id == labeler_id,
            Assignment.state == AssignmentState.LEASED,
            Comparison.run_id == run_id,
            Comparison.state.in_((ComparisonState.READY, ComparisonState.LABELED)),
        )
        .order_by(Assignment.created_at)
        .limit(count)
    )
    # Asked again: while this update waited, another request may have ended a lease whose time had run out.
    still_leased = (Assignment.id.in_(session.scalars(mine).all()), Assignment.state == AssignmentState.LEASED)
    renewed = update(Assignment).where(*still_leased).values(expires_at=_until(lease_seconds))
    return list(session.scalars(renewed.returning(Assignment.id)))


def _assign(session: Session, labeler_id: UUID, run_id: UUID, count: int, lease_seconds: int) -> list[UUID]:
    leased = select(Assignment.id).where(
        Assignment.comparison_id == Comparison.id, Assignment.state == AssignmentState.LEASED
    )
    free = (
        select(Comparison.id)
        .where(
            Comparison.run_id == run_id,
            Comparison.state == ComparisonState.READY,
            ~leased.exists(),
            ~has_answer(labeler_id),
        )
        .order_by(Comparison.promotion.desc(), Comparison.created_at)
        .limit(count)
        .with_for_update(skip_locked=True)
    )
    return _insert(session, labeler_id, _shuffled(session, session.scalars(free).all()), lease_seconds)


def _shuffled(session: Session, comparison_ids: Sequence[UUID]) -> list[tuple[UUID, list[UUID]]]:
    members = select(ComparisonSample.comparison_id, ComparisonSample.sample_id)
    samples: dict[UUID, list[UUID]] = {comparison_id: [] for comparison_id in comparison_ids}
    for comparison_id, sample_id in session.execute(
        members.where(ComparisonSample.comparison_id.in_(comparison_ids)).order_by(ComparisonSample.slot)
    ):
        samples[comparison_id].append(sample_id)
    chance = random.SystemRandom()
    return [(comparison_id, chance.sample(ids, len(ids))) for comparison_id, ids in samples.items()]


def _insert(
    session: Session, labeler_id: UUID, shown: Sequence[tuple[UUID, list[UUID]]], lease_seconds: int
) -> list[UUID]:
    """New leases; a comparison that another request lent a moment ago is left out."""
    if not shown:
        return []
    common = {"labeler_id": labeler_id, "expires_at": _until(lease_seconds)}
    rows = [{"comparison_id": comparison_id, "shown": order} | common for comparison_id, order in shown]
    one_lease = insert(Assignment).on_conflict_do_nothing(
        index_elements=[Assignment.comparison_id], index_where=text("state = 'leased'")
    )
    return list(session.scalars(one_lease.values(rows).returning(Assignment.id)))


def _described(session: Session, assignment_ids: Sequence[UUID]) -> list[Lease]:
    query = (
        select(Assignment, Prompt.text)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .where(Assignment.id.in_(assignment_ids))
        .order_by(Assignment.created_at)
        .execution_options(populate_existing=True)
    )
    rows = session.execute(query).all()
    wanted = [sample_id for assignment, _ in rows for sample_id in assignment.shown]
    texts = dict(session.execute(select(Sample.id, Sample.text).where(Sample.id.in_(wanted))).all())
    return [_lease(assignment, prompt, texts) for assignment, prompt in rows]


def _lease(assignment: Assignment, prompt: str, texts: dict[UUID, str]) -> Lease:
    return Lease(
        assignment_id=assignment.id,
        comparison_id=assignment.comparison_id,
        prompt=prompt,
        samples=tuple((sample_id, texts[sample_id]) for sample_id in assignment.shown),
        expires_at=assignment.expires_at,
    )


def _until(seconds: int) -> ColumnElement[datetime]:
    return func.clock_timestamp() + timedelta(seconds=seconds)
