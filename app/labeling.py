"""Labeling: lease, answer, skip, flag, undo, change.

A label is written once. Undoing or changing it writes a further revision, and an answer once given under a key stays
the answer of that key, so a client may repeat any request until it hears back.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import audit, hot, jobs, practice, tallies
from app.answers import Answers, Said, check, store
from app.comparisons import CLOSING
from app.errors import ConflictError, InvalidError, NotFoundError
from app.leasing import (
    Lease,
    described,
    end_lease,
    latest_assignment,
    lease,
    lease_again,
    lock_comparison,
    lock_labeler,
)
from app.models import AssignmentState, Comparison, ComparisonState, Label, Run, Verdict, id_by_time
from app.progress import Progress, counts, seen
from app.selection import is_free

__all__ = [
    "Lease",
    "Progress",
    "Recorded",
    "Said",
    "counts",
    "flag",
    "lease",
    "record",
    "revise",
    "undo",
    "unflag",
    "work",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A label that is in the database."""

    label_id: UUID
    revision: int


def work(
    session: Session, labeler_id: UUID, run_id: UUID, *, count: int, lease_seconds: int
) -> tuple[list[Lease], Progress]:
    """What is before a labeler: comparisons as `lease` gives them, none before they have practised, and the counts.

    Raises: what `lease` raises.
    """
    lock_labeler(session, labeler_id)
    standing = hot.standing(session, labeler_id, run_id)
    if standing.practice and practice.is_due(session, session.get_one(Run, run_id), labeler_id):
        return [], seen(standing, waiting_for=practice.WHY)
    held = lease(session, labeler_id, run_id, count=count, lease_seconds=lease_seconds, standing=standing)
    return held, seen(standing) if held else counts(session, labeler_id, run_id)


def record(
    session: Session,
    labeler_id: UUID,
    comparison_id: UUID,
    *,
    verdict: Verdict,
    choice: UUID | None,
    key: str,
    milliseconds: int | None = None,
    reason: str | None = None,
    strength: int | None = None,
    answers: Answers | None = None,
) -> Recorded:
    """Write down an answer, even if its lease has run out since: a person's work is not thrown away.

    It counts while the comparison still wants answers, whoever holds it now; after that it is kept as surplus.

    Args:
        choice: the sample picked, if and only if the verdict is `best`.
        key: of the client's making, one per answer; the same key gets the same result again.
        milliseconds: from shown to answered.
        strength: how much better the chosen one of a pair is, where the run asks for it.
        answers: to the run's questions.
    Raises: NotFoundError if there is no such comparison or nobody ever got it; ConflictError if it was given to others
        only, or this labeler answered it before and did not undo that; InvalidError if the answer makes no sense.
    """
    said = Said(
        verdict=verdict,
        choice=choice,
        milliseconds=milliseconds,
        reason=reason,
        strength=strength,
        answers=answers or {},
    )
    lock_labeler(session, labeler_id)
    found = _find(session, labeler_id, comparison_id, key)
    if found.keyed_id is not None:
        return _same_answer(found)
    _, shown = _lent(session, labeler_id, found)
    check(session, said, shown, found.run_id)
    if found.before is not None and found.before != Verdict.UNDONE:
        raise ConflictError("You have answered this comparison already; undo that answer first.")
    return _write(session, labeler_id, found, said, key)


def revise(session: Session, labeler_id: UUID, label_id: UUID, said: Said, *, key: str) -> Recorded:
    """Change an answer by a further revision, without taking the comparison back.

    Raises: NotFoundError if it is not this labeler's; ConflictError if it is no longer their newest answer to its
        comparison; InvalidError if the new answer makes no sense.
    """
    lock_labeler(session, labeler_id)
    label = session.get(Label, label_id)
    if label is None or label.labeler_id != labeler_id:
        raise NotFoundError("There is no such label of yours.")
    found = _find(session, labeler_id, label.comparison_id, key)
    if found.keyed_id is not None:
        return _same_answer(found)
    if found.before_id != label_id or found.before == Verdict.UNDONE:
        raise ConflictError("This answer has been changed or taken back since.")
    _, shown = _lent(session, labeler_id, found)
    check(session, said, shown, found.run_id)
    _discount(session, lock_comparison(session, found.id), label)
    return _write(session, labeler_id, _find(session, labeler_id, found.id, key), said, key)


def undo(session: Session, labeler_id: UUID, label_id: UUID, *, lease_seconds: int) -> Lease:
    """Take an answer back by a further revision; the comparison returns to the same labeler in the same order.

    Raises: NotFoundError if it is not this labeler's; ConflictError if it is undone or answered anew already, or if
        it was a skip and somebody else has the comparison now.
    """
    lock_labeler(session, labeler_id)
    label = session.get(Label, label_id)
    if label is None or label.labeler_id != labeler_id:
        raise NotFoundError("There is no such label of yours.")
    key = f"undo:{label_id}"
    comparison = lock_comparison(session, label.comparison_id)
    assignment = latest_assignment(session, labeler_id, comparison.id)
    if _label_of_key(session, labeler_id, key) is not None and assignment.state == AssignmentState.LEASED:
        return described(session, assignment.id)
    before = _current(session, labeler_id, comparison.id)
    if before is None or before.id != label_id or label.verdict == Verdict.UNDONE:
        raise ConflictError("This answer has been undone already.")
    session.add(
        Label(
            comparison_id=comparison.id,
            labeler_id=labeler_id,
            assignment_id=label.assignment_id,
            revision=label.revision + 1,
            verdict=Verdict.UNDONE,
            idempotency_key=key,
        )
    )
    if label.verdict == Verdict.SKIP and not _is_free(session, comparison):
        raise ConflictError("Somebody else has this comparison now, so it cannot come back to you.")
    _discount(session, comparison, label)
    comparison.trains = None
    session.flush()
    jobs.wake_run(session, comparison.run_id)
    return lease_again(session, assignment, lease_seconds=lease_seconds)


def flag(session: Session, labeler_id: UUID, comparison_id: UUID, reason: str) -> None:
    """Take a comparison out of the queue for a researcher to see; flagging it again changes nothing.

    Raises: InvalidError without a reason, NotFoundError or ConflictError if it was never given to this labeler,
        ConflictError if it has all answers it wanted, or one of this labeler.
    """
    if not reason.strip():
        raise InvalidError("Say what is wrong with it.")
    lock_labeler(session, labeler_id)
    comparison = lock_comparison(session, comparison_id)
    assignment = latest_assignment(session, labeler_id, comparison_id)
    mine = _current(session, labeler_id, comparison_id)
    if comparison.state == ComparisonState.LABELED or (mine is not None and mine.verdict in CLOSING):
        raise ConflictError("This comparison has been answered; undo the answer to flag it.")
    end_lease(session, comparison, assignment)
    if comparison.state != ComparisonState.FLAGGED:
        _close(session, comparison, ComparisonState.FLAGGED)
        detail = {"comparison": str(comparison_id), "reason": reason.strip()}
        audit.record(session, labeler_id, "comparison.flagged", run_id=comparison.run_id, **detail)
        jobs.wake_run(session, comparison.run_id)
    session.flush()


def unflag(session: Session, comparison_id: UUID, actor_id: UUID) -> UUID:
    """Put a flagged comparison back: its answers count again, and those it still wants are asked for.

    Returns: the run it is of.
    Raises: NotFoundError if there is no such comparison, ConflictError if it is not flagged.
    """
    comparison = lock_comparison(session, comparison_id)
    if comparison.state != ComparisonState.FLAGGED:
        raise ConflictError("This comparison is not flagged.")
    if comparison.wanted is not None and comparison.answers >= comparison.wanted:
        comparison.state = ComparisonState.LABELED
    else:
        comparison.state, comparison.closed_at = ComparisonState.READY, None
    comparison.trains = None
    detail = {"comparison": str(comparison_id)}
    audit.record(session, actor_id, "comparison.unflagged", run_id=comparison.run_id, **detail)
    jobs.wake_run(session, comparison.run_id)
    session.flush()
    return comparison.run_id


def _find(session: Session, labeler_id: UUID, comparison_id: UUID, key: str) -> hot.Found:
    """The comparison, locked. Raises: NotFoundError if there is none."""
    found = hot.rows(session, hot.FIND, labeler=labeler_id, comparison=comparison_id, key=key)
    if not found:
        raise NotFoundError("There is no such comparison.")
    return hot.Found(*found[0])


def _lent(session: Session, labeler_id: UUID, found: hot.Found) -> tuple[UUID, list[UUID]]:
    """The assignment by which this labeler got it, and the order shown; raises what `latest_assignment` raises."""
    if found.assignment_id is not None and found.shown is not None:
        return found.assignment_id, found.shown
    assignment = latest_assignment(session, labeler_id, found.id)
    return assignment.id, assignment.shown


def _write(session: Session, labeler_id: UUID, found: hot.Found, said: Said, key: str) -> Recorded:
    """One more revision; the last answer that was wanted closes the comparison."""
    closing = said.verdict in CLOSING
    assignment_id, _ = _lent(session, labeler_id, found)
    recorded = Recorded(label_id=id_by_time(), revision=(found.before_revision or 0) + 1)
    written = {
        "id": recorded.label_id,
        "comparison": found.id,
        "run": found.run_id,
        "labeler": labeler_id,
        "assignment": assignment_id,
        "revision": recorded.revision,
        "verdict": said.verdict.value,
        "choice": said.choice,
        "key": key,
        "milliseconds": said.milliseconds,
        "reason": said.reason,
        "strength": said.strength,
        "surplus": closing and not found.wants_more,
        "closing": closing,
        "counted": int(closing and found.wants_more),
    }
    hot.write(session, hot.WRITE, **written)
    hot.changed(session, [found.id], [assignment_id])
    if said.answers:
        store(session, recorded.label_id, said.answers)
        session.flush()
    jobs.wake_run(session, found.run_id)
    return recorded


def _same_answer(found: hot.Found) -> Recorded:
    if found.keyed_comparison != found.id:
        raise ConflictError("This idempotency key belongs to the answer to another comparison.")
    assert found.keyed_id is not None
    assert found.keyed_revision is not None
    return Recorded(label_id=found.keyed_id, revision=found.keyed_revision)


def _label_of_key(session: Session, labeler_id: UUID, key: str) -> Label | None:
    return session.scalar(select(Label).where(Label.labeler_id == labeler_id, Label.idempotency_key == key))


def _current(session: Session, labeler_id: UUID, comparison_id: UUID) -> Label | None:
    query = select(Label).where(Label.labeler_id == labeler_id, Label.comparison_id == comparison_id)
    return session.scalar(query.order_by(Label.revision.desc()).limit(1))


def _close(session: Session, comparison: Comparison, state: ComparisonState) -> None:
    comparison.state = state
    comparison.closed_at = session.scalar(select(func.clock_timestamp()))
    comparison.trains = None


def _is_free(session: Session, comparison: Comparison) -> bool:
    return session.scalar(select(Comparison.id).where(Comparison.id == comparison.id, is_free())) is not None


def _discount(session: Session, comparison: Comparison, label: Label) -> None:
    """An answer stands no longer: where it counted, the comparison wants another again."""
    if label.verdict not in CLOSING:
        return
    tallies.add(session, comparison.run_id, label, -1)
    if label.surplus:
        return
    comparison.answers -= 1
    if comparison.state == ComparisonState.LABELED:
        comparison.state, comparison.closed_at = ComparisonState.READY, None
