"""The andon cord: anyone who labels can stop the line; only a researcher lets it go on.

While it is pulled, PPO and promotion stand still and the last approved policy goes on writing samples. Who may call
`release` is decided at the door.
"""

from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import audit, jobs
from app.errors import ConflictError, InvalidError, NotFoundError
from app.models import Andon, Run


def pull(session: Session, run_id: UUID, account_id: UUID | None, reason: str) -> Andon:
    """Stop the line; if it stands already, the pull that stopped it.

    Args:
        account_id: None: the plant pulls by itself.
    Raises: InvalidError without a reason, NotFoundError without such a run.
    """
    if not reason.strip():
        raise InvalidError("Say why you pull the cord: somebody has to find what is wrong.")
    if session.get(Run, run_id) is None:
        raise NotFoundError("There is no such run.")
    values = {"run_id": run_id, "pulled_by_id": account_id, "reason": reason.strip()}
    insertion = insert(Andon).values(values)
    one = insertion.on_conflict_do_nothing(index_elements=[Andon.run_id], index_where=Andon.released_at.is_(None))
    made: Andon | None = session.scalar(one.returning(Andon))
    if made is None:
        return pulled(session, run_id) or pull(session, run_id, account_id, reason)  # released this very moment
    audit.record(session, account_id, "andon.pulled", run_id=run_id, reason=made.reason)
    jobs.wake_run(session, run_id)
    return made


def release(session: Session, run_id: UUID, account_id: UUID, note: str) -> Andon:
    """Let the line go on.

    Raises: InvalidError without a note, ConflictError if nobody pulled the cord.
    """
    if not note.strip():
        raise InvalidError("Say what was found before the line goes on: the note is kept with the pull.")
    found = session.scalar(_unreleased(run_id).with_for_update())
    if found is None:
        raise ConflictError("The cord of this run is not pulled.")
    found.released_at = session.scalar(select(func.clock_timestamp()))
    found.released_by_id = account_id
    found.note = note.strip()
    audit.record(session, account_id, "andon.released", run_id=run_id, note=found.note)
    jobs.wake_run(session, run_id)
    session.flush()
    return found


def pulled(session: Session, run_id: UUID) -> Andon | None:
    """The pull that stops the run now, if one does."""
    return session.scalar(_unreleased(run_id))


def stopped(session: Session) -> set[UUID]:
    """The runs whose cord is pulled."""
    return set(session.scalars(select(Andon.run_id).where(Andon.released_at.is_(None))))


def _unreleased(run_id: UUID) -> Select[Andon]:
    return select(Andon).where(Andon.run_id == run_id, Andon.released_at.is_(None))
