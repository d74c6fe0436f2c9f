"""Leases: who holds which comparison, until when, in which order of samples.

A lease decides who is offered a comparison, not whose answer counts. `Comparison.leased` counts the leases that run, so
that whoever looks for a free comparison needs no other table.

Order of locks, the same everywhere: the labeler's own account, then a comparison, then its assignments. Locking the
account makes the requests of one labeler (two tabs, a retry beside its original) follow each other; different
labelers never wait for each other while leasing, because they skip what others have locked.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.orm import Session, aliased

from app import hot, selection, tallies
from app.errors import ConflictError, InvalidError, NotFoundError
from app.hot import MOST_LEASES
from app.hparams import CollectionHParams
from app.models import (
    Assignment,
    AssignmentState,
    Comparison,
    ComparisonSample,
    Phase,
    Prompt,
    Run,
    Sample,
    id_by_time,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A comparison lent to a labeler."""

    assignment_id: UUID
    comparison_id: UUID
    prompt: str
    samples: tuple[tuple[UUID, str], ...]
    """Id and text, in the order to show."""
    expires_at: datetime


class Content(NamedTuple):
    """What a comparison shows."""

    prompt: str
    samples: dict[UUID, str]


def lease(
    session: Session,
    labeler_id: UUID,
    run_id: UUID,
    *,
    count: int,
    lease_seconds: int,
    standing: hot.Standing | None = None,
) -> list[Lease]:
    """At most `count` comparisons for a labeler: first those they hold, renewed, then new ones.

    New ones are of the newest policy first, then the oldest; never one that this labeler has answered or skipped.

    Args:
        standing: the labeler's, seen under the lock of this transaction; None: not looked at yet.
    Raises: NotFoundError without such a run, InvalidError if `count` is not in 1..8.
    """
    if not 1 <= count <= MOST_LEASES:
        raise InvalidError(f"Ask for 1 to {MOST_LEASES} comparisons at a time, not {count}.")
    lock_labeler(session, labeler_id)
    standing = standing or hot.standing(session, labeler_id, run_id)
    held = _renewed(session, standing.held[:count], lease_seconds) if standing.held else []
    collection = CollectionHParams.model_validate(standing.collection or {})
    missing = _allowed(standing, collection, held=len(held), wanted=count) - len(held)
    if missing <= 0:
        return held
    return held + _assign(session, labeler_id, run_id, collection, missing, lease_seconds)


def lease_again(session: Session, earlier: Assignment, *, lease_seconds: int) -> Lease:
    """Lend a comparison to the same labeler again, in the same order. The comparison must be locked."""
    again = _Drawn(earlier.comparison_id, earlier.shown, earlier.propensity)
    return _insert(session, earlier.labeler_id, [again], lease_seconds)[0]


def hold(
    session: Session, labeler_id: UUID, held: Sequence[UUID], chosen: Sequence[UUID], *, lease_seconds: int
) -> list[Lease]:
    """Renew the labeler's assignments `held`, and lend them the comparisons `chosen`, which must be locked."""
    renewed = _renewed(session, held, lease_seconds) if held else []
    if not chosen:
        return renewed
    contents, chance = _contents(session, chosen), random.SystemRandom()
    drawn = [
        _Drawn(one, chance.sample(list(contents[one].samples), len(contents[one].samples)), None) for one in chosen
    ]
    return renewed + _insert(session, labeler_id, drawn, lease_seconds, contents)


def described(session: Session, assignment_id: UUID) -> Lease:
    """A lease with its texts."""
    return _described(session, [assignment_id])[0]


def lock_labeler(session: Session, labeler_id: UUID) -> None:
    """Let one request of this labeler work at a time, to the end of the transaction.

    Raises: NotFoundError without such an account.
    """
    if hot.holds_lock(session, labeler_id):
        return
    if not hot.rows(session, hot.LOCK_LABELER, labeler=labeler_id):
        raise NotFoundError("There is no such account.")


def lock_comparison(session: Session, comparison_id: UUID) -> Comparison:
    """A comparison that nobody else changes until the end of the transaction.

    Raises: NotFoundError if there is none.
    """
    lock = select(Comparison).where(Comparison.id == comparison_id).with_for_update(key_share=True)
    found = session.scalar(lock.execution_options(populate_existing=True))
    if found is None:
        raise NotFoundError("There is no such comparison.")
    return found


def latest_assignment(session: Session, labeler_id: UUID, comparison_id: UUID) -> Assignment:
    """The last time this labeler got this comparison.

    Raises: NotFoundError if nobody ever did, ConflictError if others did: it is theirs to answer.
    """
    lent = select(Assignment).where(Assignment.comparison_id == comparison_id)
    found = session.scalar(
        lent.where(Assignment.labeler_id == labeler_id)
        .order_by(Assignment.created_at.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    )
    if found is not None:
        return found
    if session.scalar(lent.limit(1)) is not None:
        raise ConflictError("This comparison was given to somebody else, never to you.")
    raise NotFoundError("This comparison was never given to you.")


def end_lease(session: Session, comparison: Comparison, assignment: Assignment) -> None:
    """The labeler has answered. The comparison must be locked."""
    running = (Assignment.id == assignment.id, Assignment.state == AssignmentState.LEASED)
    ended = update(Assignment).where(*running).values(state=AssignmentState.ANSWERED).returning(Assignment.id)
    if session.scalar(ended) is not None:
        comparison.leased -= 1
    else:
        assignment.state = AssignmentState.ANSWERED  # it had run out


def expire(session: Session) -> int:
    """End leases whose time ran out, in all runs; what another request works on is its matter."""
    over = (
        select(Assignment.id, Assignment.comparison_id)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .where(Assignment.state == AssignmentState.LEASED, Assignment.expires_at <= func.statement_timestamp())
        .with_for_update(skip_locked=True, of=(Comparison, Assignment), key_share=True)
    )
    found = session.execute(over).all()
    if not found:
        return 0
    ended = [assignment_id for assignment_id, _ in found]
    session.execute(update(Assignment).where(Assignment.id.in_(ended)).values(state=AssignmentState.EXPIRED))
    by_count: dict[int, list[UUID]] = defaultdict(list)
    comparison_ids = [comparison_id for _, comparison_id in found]
    for comparison_id in set(comparison_ids):
        by_count[comparison_ids.count(comparison_id)].append(comparison_id)
    for count, ids in by_count.items():
        session.execute(update(Comparison).where(Comparison.id.in_(ids)).values(leased=Comparison.leased - count))
    return len(found)


class _Drawn(NamedTuple):
    """A comparison on its way to a labeler."""

    comparison_id: UUID
    shown: list[UUID]
    propensity: float | None


def _allowed(standing: hot.Standing, collection: CollectionHParams, *, held: int, wanted: int) -> int:
    """How many comparisons this labeler may hold now."""
    if standing.phase == Phase.STOPPED or standing.excluded:
        return held
    left = tallies.left(collection, tallies.Done.of(standing))
    return wanted if left is None else min(wanted, left)


def _renewed(session: Session, assignment_ids: Sequence[UUID], lease_seconds: int) -> list[Lease]:
    held = hot.renew(session, list(assignment_ids), seconds=lease_seconds)
    hot.changed(session, [], [one.assignment_id for one in held])
    return [_of_lent(one) for one in held]


def _assign(
    session: Session, labeler_id: UUID, run_id: UUID, collection: CollectionHParams, count: int, lease_seconds: int
) -> list[Lease]:
    chance = random.SystemRandom()
    plan = selection.plan(collection, count, chance)
    if collection.selection == "age" and not selection.mixes(session, labeler_id, run_id, plan):
        return _lend(session, labeler_id, run_id, count, lease_seconds)
    run = session.get_one(Run, run_id)
    queue = selection.queued(session, labeler_id, run, collection, count)
    if len(queue) < count and expire(session):
        queue = selection.queued(session, labeler_id, run, collection, count)
    if not queue:
        return []
    picks = selection.mixed(session, labeler_id, run, plan, queue)
    contents = _contents(session, [one.comparison_id for one in picks])
    drawn = []
    for comparison_id, propensity in picks:
        ids = list(contents[comparison_id].samples)
        drawn.append(_Drawn(comparison_id, chance.sample(ids, len(ids)), propensity))
    return _insert(session, labeler_id, drawn, lease_seconds, contents)


def _lend(session: Session, labeler_id: UUID, run_id: UUID, count: int, lease_seconds: int) -> list[Lease]:
    """The first of the queue; where it is short, leases that ran out are ended and make room."""
    asked = {"labeler": labeler_id, "run": run_id, "seconds": lease_seconds}
    lent = hot.lend(session, count, **asked)
    if len(lent) < count and expire(session):
        lent += hot.lend(session, count - len(lent), **asked)
    hot.changed(session, [one.comparison_id for one in lent], [])
    return [_of_lent(one) for one in lent]


def _of_lent(one: hot.Lent) -> Lease:
    return Lease(
        assignment_id=one.assignment_id,
        comparison_id=one.comparison_id,
        prompt=one.prompt,
        samples=tuple(zip(one.shown, one.texts, strict=True)),
        expires_at=one.expires_at,
    )


def _insert(
    session: Session,
    labeler_id: UUID,
    drawn: Sequence[_Drawn],
    lease_seconds: int,
    contents: dict[UUID, Content] | None = None,
) -> list[Lease]:
    """New leases of comparisons that are locked, in this order."""
    ids = [one.comparison_id for one in drawn]
    known = contents or _contents(session, ids)
    common = {"labeler_id": labeler_id, "state": AssignmentState.LEASED, "expires_at": _until(lease_seconds)}
    rows = [{"id": id_by_time(), **one._asdict(), **common} for one in drawn]
    made = insert(Assignment).values(rows).returning(Assignment.comparison_id, Assignment.id, Assignment.expires_at)
    written = {comparison_id: (id_, until) for comparison_id, id_, until in session.execute(made)}
    lent = update(Comparison).where(Comparison.id.in_(ids)).values(leased=Comparison.leased + 1)
    session.execute(lent.execution_options(synchronize_session="fetch" if contents is None else False))
    return [_lease(one.comparison_id, *written[one.comparison_id], one.shown, known) for one in drawn]


def _described(session: Session, assignment_ids: Sequence[UUID]) -> list[Lease]:
    if not assignment_ids:
        return []
    columns = (Assignment.comparison_id, Assignment.id, Assignment.expires_at, Assignment.shown)
    query = select(*columns).where(Assignment.id.in_(assignment_ids)).order_by(Assignment.created_at)
    rows = session.execute(query).all()
    contents = _contents(session, [row.comparison_id for row in rows])
    return [_lease(*row, contents) for row in rows]


def _contents(session: Session, comparison_ids: Sequence[UUID]) -> dict[UUID, Content]:
    """Texts of comparisons, samples in the order of their slots."""
    asked = aliased(Prompt)
    query = (
        select(Comparison.id, asked.text, Sample.id, Sample.text)
        .join(asked, asked.id == Comparison.prompt_id)
        .join(ComparisonSample, ComparisonSample.comparison_id == Comparison.id)
        .join(Sample, Sample.id == ComparisonSample.sample_id)
        .where(Comparison.id.in_(comparison_ids))
        .order_by(Comparison.id, ComparisonSample.slot)
    )
    found: dict[UUID, Content] = {}
    for comparison_id, prompt, sample_id, text in session.execute(query):
        found.setdefault(comparison_id, Content(prompt, {})).samples[sample_id] = text
    return found


def _lease(
    comparison_id: UUID, assignment_id: UUID, expires_at: datetime, shown: list[UUID], contents: dict[UUID, Content]
) -> Lease:
    content = contents[comparison_id]
    return Lease(
        assignment_id=assignment_id,
        comparison_id=comparison_id,
        prompt=content.prompt,
        samples=tuple((sample_id, content.samples[sample_id]) for sample_id in shown),
        expires_at=expires_at,
    )


def _until(seconds: int) -> ColumnElement[datetime]:
    return func.clock_timestamp() + timedelta(seconds=seconds)
