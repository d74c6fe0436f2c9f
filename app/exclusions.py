"""Leave a labeler's answers out of a run, without deleting any, see what that would change, take them in again."""

from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app import audit, jobs, queueing, settling
from app.errors import ConflictError, InvalidError, NotFoundError
from app.kinds import JobKind
from app.leasing import lock_labeler
from app.models import Account, Assignment, AssignmentState, Comparison, Exclusion, Job, Run


def consider(session: Session, run_id: UUID, labeler_id: UUID) -> Job:
    """Find out what leaving a labeler out would change; nothing is excluded.

    The job's result: see `workers.leaving_out.change`.
    Raises: NotFoundError without such a run or labeler, ConflictError if they are excluded already.
    """
    if session.get(Account, labeler_id) is None:
        raise NotFoundError("There is no such account.")
    if in_force(session, run_id, labeler_id) is not None:
        raise ConflictError("This labeler is excluded already: include them first to see what they change.")
    return queueing.queue(session, run_id, JobKind.LEAVE_OUT, {"labeler": str(labeler_id)})


def considered(session: Session, run_id: UUID, labeler_id: UUID) -> Job | None:
    """The last job that found out, or is about to, what leaving a labeler out would change."""
    theirs = (Job.run_id == run_id, Job.kind == JobKind.LEAVE_OUT, Job.args["labeler"].as_string() == str(labeler_id))
    return session.scalar(select(Job).where(*theirs).order_by(Job.step.desc()).limit(1))


def exclude(session: Session, run_id: UUID, labeler_id: UUID, actor_id: UUID | None, reason: str) -> Exclusion:
    """From now on none of the labeler's answers in this run counts, and they get no further comparison of it.

    Raises: InvalidError without a reason, NotFoundError without such a run or labeler, ConflictError if they are
        excluded already.
    """
    if not reason.strip():
        raise InvalidError("Say why: the labeler may ask, and so may whoever reads the data later.")
    if session.get(Run, run_id) is None:
        raise NotFoundError("There is no such run.")
    lock_labeler(session, labeler_id)
    if in_force(session, run_id, labeler_id) is not None:
        raise ConflictError("This labeler is excluded from the run already.")
    made = Exclusion(run_id=run_id, labeler_id=labeler_id, excluded_by_id=actor_id, reason=reason.strip())
    session.add(made)
    settling.unsettle(session, labeler_id, run_id)
    _end_leases(session, run_id, labeler_id)
    audit.record(session, actor_id, "labeler.excluded", run_id=run_id, labeler=str(labeler_id), reason=made.reason)
    jobs.wake_run(session, run_id)
    session.flush()
    return made


def include(session: Session, run_id: UUID, labeler_id: UUID, actor_id: UUID | None) -> Exclusion:
    """The labeler's answers count again, but for those given meanwhile, which stay surplus.

    Raises: NotFoundError without such a labeler, ConflictError if they are not excluded.
    """
    lock_labeler(session, labeler_id)
    found = in_force(session, run_id, labeler_id)
    if found is None:
        raise ConflictError("This labeler is not excluded from the run.")
    found.lifted_at = session.scalar(select(func.clock_timestamp()))
    found.lifted_by_id = actor_id
    settling.unsettle(session, labeler_id, run_id)
    audit.record(session, actor_id, "labeler.included", run_id=run_id, labeler=str(labeler_id))
    jobs.wake_run(session, run_id)
    session.flush()
    return found


def in_force(session: Session, run_id: UUID, labeler_id: UUID) -> Exclusion | None:
    """The exclusion of a labeler from a run that holds now, if one does."""
    of_them = (Exclusion.run_id == run_id, Exclusion.labeler_id == labeler_id, Exclusion.lifted_at.is_(None))
    return session.scalar(select(Exclusion).where(*of_them))


def _end_leases(session: Session, run_id: UUID, labeler_id: UUID) -> None:
    """What they hold goes to others. One comparison is locked after the other, in the order of their ids."""
    held = (
        select(Assignment.comparison_id)
        .where(Assignment.labeler_id == labeler_id, Assignment.state == AssignmentState.LEASED)
        .scalar_subquery()
    )
    lock = select(Comparison.id).where(Comparison.run_id == run_id, Comparison.id.in_(held)).order_by(Comparison.id)
    locked = session.scalars(lock.with_for_update(key_share=True)).all()
    mine = (Assignment.labeler_id == labeler_id, Assignment.state == AssignmentState.LEASED)
    ended = update(Assignment).where(*mine, Assignment.comparison_id.in_(locked)).values(state=AssignmentState.EXPIRED)
    ids = session.scalars(ended.returning(Assignment.comparison_id)).all()
    session.execute(update(Comparison).where(Comparison.id.in_(ids)).values(leased=Comparison.leased - 1))
