"""What a labeler may know of the work: how much they did, how far the run is, why there is nothing to do."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import andon
from app.comparisons import CLOSING, has_active_lease, has_answer
from app.errors import NotFoundError
from app.hparams import RunHParams
from app.models import Assignment, AssignmentState, Comparison, ComparisonState, Guideline, Label, Phase, Run
from app.usable import is_current


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
    """How far this labeler and the run are.

    Raises: NotFoundError without such a run.
    """
    run = _run(session, run_id)
    answers = (
        select(func.count(), func.count().filter(Label.created_at >= func.date_trunc("day", func.now(), "UTC")))
        .select_from(Label)
        .join(Comparison, Comparison.id == Label.comparison_id)
        .where(Label.labeler_id == labeler_id, Comparison.run_id == run_id, Label.verdict.in_(CLOSING), is_current())
    )
    mine, today = session.execute(answers).one()
    goal = RunHParams.model_validate(run.hparams).schedule.total_labels
    waiting_for = _waiting_for(session, labeler_id, run, goal)
    pull = andon.pulled(session, run_id)
    return Progress(
        mine=mine,
        mine_today=today,
        team=run.labels_usable,
        goal=goal,
        waiting_for=waiting_for,
        cord=pull.reason if pull else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a labeler is asked to do."""

    run_id: UUID
    run_name: str
    question: str
    guideline: str | None
    """The newest version."""


def task_of(session: Session, run_id: UUID) -> Task:
    """What labelers of a run are asked.

    Raises: NotFoundError without such a run.
    """
    run = _run(session, run_id)
    newest = select(Guideline.text).where(Guideline.run_id == run_id).order_by(Guideline.version.desc()).limit(1)
    question = RunHParams.model_validate(run.hparams).task.question
    return Task(run_id=run_id, run_name=run.name, question=question, guideline=session.scalar(newest))


def run_to_label(session: Session) -> UUID | None:
    """The run to send a labeler to: the newest that runs, else the newest that is not stopped."""
    query = select(Run.id).where(Run.phase != Phase.STOPPED)
    return session.scalar(query.order_by((Run.phase == Phase.RUNNING).desc(), Run.created_at.desc()).limit(1))


def _run(session: Session, run_id: UUID) -> Run:
    run = session.get(Run, run_id)
    if run is None:
        raise NotFoundError("There is no such run.")
    return run


def _waiting_for(session: Session, labeler_id: UUID, run: Run, goal: int) -> str | None:
    note = f": {run.note}" if run.note else ""
    if run.phase == Phase.STOPPED:
        return f"This run was stopped{note}."
    total, free = _to_do(session, labeler_id, run.id)
    if free:
        return None
    if run.phase == Phase.PAUSED:
        return f"The run is paused{note}. Nothing new is written until a researcher resumes it."
    if run.phase == Phase.FINISHED or run.labels_usable >= goal:
        return f"The run has all {goal} labels it asked for. Thank you."
    if run.serving_id is None:
        return "The model is being prepared."
    if total:
        return f"Other labelers are looking at the last {total}. New samples are being written."
    return "New samples are being written."


def _to_do(session: Session, labeler_id: UUID, run_id: UUID) -> tuple[int, int]:
    """Comparisons this labeler has not answered: all, and those nobody else holds."""
    mine = select(Assignment.id).where(
        Assignment.comparison_id == Comparison.id,
        Assignment.labeler_id == labeler_id,
        Assignment.state == AssignmentState.LEASED,
    )
    query = select(func.count(), func.count().filter(~has_active_lease() | mine.exists())).where(
        Comparison.run_id == run_id, Comparison.state == ComparisonState.READY, ~has_answer(labeler_id)
    )
    total, free = session.execute(query).one()
    return total, free
