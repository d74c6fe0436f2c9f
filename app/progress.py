"""What a labeler may know of the work: how much they did, how far the run is, why there is nothing to do."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app import hot, tallies
from app.comparisons import has_active_lease
from app.errors import NotFoundError
from app.hparams import CollectionHParams
from app.models import Comparison, ComparisonState, Phase, Run
from app.selection import is_free, is_open_to
from app.usable import QUEUED

SEVERAL = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Counts of labels."""

    mine: int
    """This labeler's answers in this run, without skips and what was undone."""
    mine_today: int
    """Of these, since midnight UTC."""
    team: int
    """The run's labels that count, by everybody, as of the run's last look."""
    goal: int
    """Labels the run wants in all."""
    waiting_for: str | None
    """A sentence for people: why there is nothing for this labeler; None if there is something."""
    cord: str | None
    """Why the andon cord is pulled; None while it is not."""


def counts(session: Session, labeler_id: UUID, run_id: UUID) -> Progress:
    """How far this labeler and the run are. Raises: NotFoundError without such a run."""
    standing = hot.standing(session, labeler_id, run_id)
    return seen(standing, waiting_for=_waiting_for(session, labeler_id, run_id, standing))


def seen(standing: hot.Standing, *, waiting_for: str | None = None) -> Progress:
    """The same of a labeler whose standing is known, as is why they wait; None: they have something to do."""
    return Progress(
        mine=standing.always,
        mine_today=standing.today,
        team=standing.labels_usable,
        goal=standing.goal,
        waiting_for=waiting_for,
        cord=standing.cord,
    )


def run_to_label(session: Session) -> UUID | None:
    """The run to send a labeler to: the newest that runs, else the newest that is not stopped."""
    query = select(Run.id).where(Run.phase != Phase.STOPPED)
    return session.scalar(query.order_by((Run.phase == Phase.RUNNING).desc(), Run.created_at.desc()).limit(1))


def _run(session: Session, run_id: UUID) -> Run:
    run = session.get(Run, run_id)
    if run is None:
        raise NotFoundError("There is no such run.")
    return run


def _waiting_for(session: Session, labeler_id: UUID, run_id: UUID, standing: hot.Standing) -> str | None:
    run = _run(session, run_id)
    note = f": {run.note}" if run.note else ""
    goal = standing.goal
    if run.phase == Phase.STOPPED:
        return f"This run was stopped{note}."
    if standing.held:
        return None
    if standing.excluded:
        return "A researcher has taken you out of this run for now: ask them about it."
    collection, done = CollectionHParams.model_validate(standing.collection or {}), tallies.Done.of(standing)
    if tallies.left(collection, done) == 0:
        return tallies.why_none_left(collection, done)
    if _some(session, labeler_id, run.id, is_free() | ~has_active_lease()):
        return None
    if run.phase == Phase.PAUSED:
        return f"The run is paused{note}. Nothing new is written until a researcher resumes it."
    if run.phase == Phase.FINISHED or run.labels_usable >= goal:
        return f"The run has all {goal} labels it asked for. Thank you."
    if run.serving_id is None:
        return "The model is being prepared."
    if others := _some(session, labeler_id, run.id, has_active_lease()):
        last = f"the last {others}" if others < SEVERAL else "what is there"
        return f"Other labelers are looking at {last}. New samples are being written."
    return "New samples are being written."


def _some(session: Session, labeler_id: UUID, run_id: UUID, which: ColumnElement[bool]) -> int:
    """How many comparisons this labeler has not answered, counted up to `SEVERAL`: there may be a million."""
    query = select(Comparison.id).where(
        Comparison.run_id == run_id,
        Comparison.state == ComparisonState.READY,
        Comparison.purpose.in_(QUEUED),
        which,
        is_open_to(labeler_id),
    )
    return session.scalar(select(func.count()).select_from(query.limit(SEVERAL).subquery())) or 0
