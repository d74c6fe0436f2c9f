"""Head-to-heads that people answer in a session of their own, beside the labeling queue."""

from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import Select, String, cast, func, select
from sqlalchemy.orm import Session

from app import contests, exclusions, hot, leasing, progress
from app.comparisons import CLOSING
from app.errors import ConflictError, InvalidError
from app.hot import MOST_LEASES
from app.leasing import Lease
from app.models import Assignment, AssignmentState, Comparison, ComparisonState, Contest, ContestItem, Label
from app.progress import Progress
from app.selection import is_open_to
from app.usable import is_current

NOTHING_LEFT = "You have answered all that there is for you in this session. Thank you."
NOT_WRITTEN = "The texts of this session are being written: they come by themselves."


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A session that has something for a labeler."""

    contest_id: UUID
    left: int
    """Comparisons that they may still answer."""


def lease(session: Session, labeler_id: UUID, contest_id: UUID, *, count: int, lease_seconds: int) -> list[Lease]:
    """At most `count` comparisons of the session: first those the labeler holds, renewed, then new ones.

    New ones come in an order drawn for each labeler, so that what is left over at the end is nobody's leaning.
    Raises: NotFoundError without such a contest, ConflictError if it is mixed into the queue, InvalidError if `count`
        is not in 1..8.
    """
    if not 1 <= count <= MOST_LEASES:
        raise InvalidError(f"Ask for 1 to {MOST_LEASES} comparisons at a time, not {count}.")
    contest = _of_own(session, contest_id)
    leasing.lock_labeler(session, labeler_id)
    held = list(session.scalars(_held(labeler_id, contest_id).limit(count)))
    left_out = exclusions.in_force(session, contest.run_id, labeler_id) is not None
    wanted = 0 if left_out else count - len(held)
    chosen = _free(session, labeler_id, contest_id, wanted)
    if len(chosen) < wanted and leasing.expire(session):
        chosen += _free(session, labeler_id, contest_id, wanted - len(chosen))
    return leasing.hold(session, labeler_id, held, chosen, lease_seconds=lease_seconds)


def counts(session: Session, labeler_id: UUID, contest_id: UUID, *, has_work: bool = False) -> Progress:
    """How far this labeler and everybody are with the session.

    Args:
        has_work: the caller knows that there is something for this labeler.
    Raises: NotFoundError without such a contest, ConflictError if it is mixed into the queue.
    """
    contest = _of_own(session, contest_id)
    of_it = select(Comparison).join(ContestItem).where(ContestItem.contest_id == contest_id).subquery()
    answers, made = session.execute(select(func.coalesce(func.sum(of_it.c.answers), 0), func.count(of_it.c.id))).one()
    mine = (
        select(func.count(Label.id))
        .join(ContestItem, ContestItem.comparison_id == Label.comparison_id)
        .where(
            ContestItem.contest_id == contest_id,
            Label.labeler_id == labeler_id,
            Label.verdict.in_(CLOSING),
            is_current(),
        )
    )
    nothing = NOTHING_LEFT if contest.written_at else NOT_WRITTEN
    return replace(
        progress.seen(hot.standing(session, labeler_id, contest.run_id)),
        mine=session.scalar(mine) or 0,
        team=int(answers),
        goal=made * contest.labelers,
        waiting_for=None if has_work else nothing,
    )


def waiting(session: Session, labeler_id: UUID, run_id: UUID) -> list[Waiting]:
    """Sessions of a run that have something for a labeler, oldest first."""
    if exclusions.in_force(session, run_id, labeler_id) is not None:
        return []
    rows = session.execute(
        select(ContestItem.contest_id, func.count())
        .join(Comparison, Comparison.id == ContestItem.comparison_id)
        .join(Contest, Contest.id == ContestItem.contest_id)
        .where(
            Contest.run_id == run_id,
            Contest.own_session,
            Comparison.state == ComparisonState.READY,
            Comparison.answers < Comparison.wanted,
            is_open_to(labeler_id),
        )
        .group_by(ContestItem.contest_id, Contest.created_at)
        .order_by(Contest.created_at)
    )
    return [Waiting(contest_id=id_, left=count) for id_, count in rows]


def _of_own(session: Session, contest_id: UUID) -> Contest:
    found = contests.get(session, contest_id)
    if not found.own_session:
        raise ConflictError("This head-to-head has no session of its own: its comparisons stand in the labeling queue.")
    return found


def _held(labeler_id: UUID, contest_id: UUID) -> Select[UUID]:
    return (
        select(Assignment.id)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .join(ContestItem, ContestItem.comparison_id == Comparison.id)
        .where(
            ContestItem.contest_id == contest_id,
            Assignment.labeler_id == labeler_id,
            Assignment.state == AssignmentState.LEASED,
            Comparison.state == ComparisonState.READY,
        )
        .order_by(Assignment.created_at)
    )


def _free(session: Session, labeler_id: UUID, contest_id: UUID, count: int) -> list[UUID]:
    if count <= 0:
        return []
    drawn = func.md5(func.concat(cast(Comparison.id, String), str(labeler_id)))
    free = (
        select(Comparison.id)
        .join(ContestItem, ContestItem.comparison_id == Comparison.id)
        .where(
            ContestItem.contest_id == contest_id,
            Comparison.state == ComparisonState.READY,
            Comparison.answers + Comparison.leased < Comparison.wanted,
            is_open_to(labeler_id),
        )
        .order_by(drawn)
        .limit(count)
        .with_for_update(skip_locked=True, key_share=True, of=Comparison)
    )
    return list(session.scalars(free))
