"""Where a run stands: what tiles and the API show, from a handful of indexed look-ups."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app import comparisons
from app.errors import NotFoundError
from app.hparams import RunHParams
from app.kinds import JobKind
from app.models import (
    Account,
    Andon,
    Assignment,
    AssignmentState,
    Checkpoint,
    CheckpointKind,
    Comparison,
    ComparisonState,
    Job,
    JobState,
    Label,
    Phase,
    Run,
    Verdict,
)

ACTIVE_MINUTES = 5
"""Who labeled within so many minutes is active; labels per minute are counted over the same time."""
ERROR_CHARACTERS = 4000
FAILED_JOBS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRef:
    """Enough of a checkpoint to name it."""

    id: UUID
    kind: CheckpointKind
    number: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentCheckpoints:
    """The weights in use now; None where there are none yet."""

    reference: CheckpointRef | None
    serving: CheckpointRef | None
    candidate: CheckpointRef | None
    training_state: CheckpointRef | None
    reward_model: CheckpointRef | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInFlight:
    """A job that is queued or running."""

    id: UUID
    kind: JobKind
    step: int
    state: JobState
    attempt: int
    failures: int
    worker: str | None
    created_at: datetime
    heartbeat_at: datetime | None
    error: str | None
    """Of the last attempt that raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedJob:
    """A job that was given up; resuming the run tries it again."""

    id: UUID
    kind: JobKind
    step: int
    failures: int
    error: str | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AndonReport:
    """The cord is pulled."""

    id: UUID
    reason: str
    pulled_by: str | None
    """None: Prefloop itself."""
    pulled_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A run at one moment. Holds times, never ages, so that it is equal while nothing happens."""

    id: UUID
    name: str
    base_model: str
    preset: str
    question: str
    created_at: datetime
    phase: Phase
    note: str | None
    waiting_for: str | None
    episodes: int
    episodes_total: int
    labels_usable: int
    labels_required: int
    """What the schedule wants before the next update."""
    labels_total: int
    """What it wants in the whole run."""
    ready: int
    """Fresh comparisons that nobody holds and nobody answered."""
    leased: int
    """Comparisons that somebody looks at."""
    promotions: int
    active_labelers: int
    labels_per_minute: float
    checkpoints: CurrentCheckpoints
    jobs: tuple[JobInFlight, ...]
    failed: tuple[FailedJob, ...]
    andon: AndonReport | None


def run_summary(session: Session, run_id: UUID) -> RunSummary:
    """Where the run stands. Raises: NotFoundError."""
    run = session.get(Run, run_id, populate_existing=True)
    if run is None:
        raise NotFoundError("There is no such run.")
    hparams = RunHParams.model_validate(run.hparams)
    labelers, labels = _activity(session, run_id)
    return RunSummary(
        id=run.id,
        name=run.name,
        base_model=run.base_model,
        preset=hparams.preset,
        question=hparams.task.question,
        created_at=run.created_at,
        phase=run.phase,
        note=run.note,
        waiting_for=run.waiting_for,
        episodes=run.episodes,
        episodes_total=hparams.ppo.episodes,
        labels_usable=run.labels_usable,
        labels_required=run.labels_required,
        labels_total=hparams.schedule.total_labels,
        ready=comparisons.ready_count(session, run_id),
        leased=_leased(session, run_id),
        promotions=run.promotions,
        active_labelers=labelers,
        labels_per_minute=labels / ACTIVE_MINUTES,
        checkpoints=_current(session, run),
        jobs=_in_flight(session, run_id),
        failed=_failed(session, run_id),
        andon=_andon(session, run_id),
    )


def labels_per_minute(session: Session, run_id: UUID) -> float:
    """Labels of the last minutes, per minute."""
    return _activity(session, run_id)[1] / ACTIVE_MINUTES


def oldest_minutes(session: Session, run_id: UUID) -> float:
    """Age of the oldest comparison that waits for an answer, one of the oldest policy; 0 where none does.

    Two looks into the index of the queue, however many wait.
    """
    waiting = (Comparison.run_id == run_id, Comparison.state == ComparisonState.READY)
    last = select(Comparison.promotion).where(*waiting).order_by(Comparison.promotion, Comparison.created_at.desc())
    of_last = (*waiting, Comparison.promotion == last.limit(1).scalar_subquery())
    oldest = select(Comparison.created_at).where(*of_last).order_by(Comparison.created_at).limit(1).scalar_subquery()
    since = func.extract("epoch", func.clock_timestamp() - oldest) / 60
    return float(session.scalar(select(since)) or 0)


def _leased(session: Session, run_id: UUID) -> int:
    held = (Comparison.run_id == run_id, Comparison.state == ComparisonState.READY, comparisons.has_active_lease())
    return session.scalar(select(func.count()).select_from(Comparison).where(*held)) or 0


def _activity(session: Session, run_id: UUID) -> tuple[int, int]:
    """Active labelers and the labels of the last minutes, by the index on labeler and time: no scan of all labels."""
    since = func.now() - timedelta(minutes=ACTIVE_MINUTES)  # not `clock_timestamp`, by which no index is searched
    recent = (
        select(func.count().filter(Label.verdict != Verdict.UNDONE).label("labels"))
        .select_from(Label)
        .join(Comparison, Comparison.id == Label.comparison_id)
        .where(Label.labeler_id == Account.id, Label.created_at > since, Comparison.run_id == run_id)
        .lateral()
    )
    looking = (
        select(Assignment.id)
        .join(Comparison, Comparison.id == Assignment.comparison_id)
        .where(
            Assignment.labeler_id == Account.id,
            Assignment.state == AssignmentState.LEASED,
            Assignment.created_at > since,
            Comparison.run_id == run_id,
        )
        .exists()
    )
    active = func.count().filter(or_(recent.c.labels > 0, looking))
    labelers, labels = session.execute(select(active, func.sum(recent.c.labels)).select_from(Account, recent)).one()
    return labelers, int(labels or 0)


def _current(session: Session, run: Run) -> CurrentCheckpoints:
    ids = (run.reference_id, run.serving_id, run.candidate_id, run.training_state_id, run.reward_model_id)
    rows = session.execute(
        select(Checkpoint.id, Checkpoint.kind, Checkpoint.number, Checkpoint.created_at).where(Checkpoint.id.in_(ids))
    )
    found: Mapping[UUID | None, CheckpointRef] = {
        id_: CheckpointRef(id=id_, kind=kind, number=number, created_at=created_at)
        for id_, kind, number, created_at in rows
    }
    return CurrentCheckpoints(
        reference=found.get(run.reference_id),
        serving=found.get(run.serving_id),
        candidate=found.get(run.candidate_id),
        training_state=found.get(run.training_state_id),
        reward_model=found.get(run.reward_model_id),
    )


def _in_flight(session: Session, run_id: UUID) -> tuple[JobInFlight, ...]:
    open_jobs = (
        select(Job)
        .where(Job.run_id == run_id, Job.state.in_((JobState.QUEUED, JobState.RUNNING)))
        .order_by(Job.created_at, Job.id)
        .execution_options(populate_existing=True)
    )
    return tuple(
        JobInFlight(
            id=job.id,
            kind=job.kind,
            step=job.step,
            state=job.state,
            attempt=job.attempt,
            failures=job.failures,
            worker=job.worker,
            created_at=job.created_at,
            heartbeat_at=job.heartbeat_at,
            error=job.error and job.error[-ERROR_CHARACTERS:],
        )
        for job in session.scalars(open_jobs)
    )


def _failed(session: Session, run_id: UUID) -> tuple[FailedJob, ...]:
    error = func.right(Job.error, ERROR_CHARACTERS)  # a traceback says what went wrong at its end
    given_up = (
        select(Job.id, Job.kind, Job.step, Job.failures, error, Job.finished_at)
        .where(Job.run_id == run_id, Job.state == JobState.FAILED)
        .order_by(Job.finished_at.desc().nulls_last(), Job.id)
        .limit(FAILED_JOBS)
    )
    return tuple(
        FailedJob(id=id_, kind=kind, step=step, failures=failures, error=text, finished_at=finished_at)
        for id_, kind, step, failures, text, finished_at in session.execute(given_up)
    )


def _andon(session: Session, run_id: UUID) -> AndonReport | None:
    pulled = session.execute(
        select(Andon.id, Andon.reason, Account.name, Andon.created_at)
        .outerjoin(Account, Account.id == Andon.pulled_by_id)
        .where(Andon.run_id == run_id, Andon.released_at.is_(None))
    ).one_or_none()
    if pulled is None:
        return None
    id_, reason, name, pulled_at = pulled
    return AndonReport(id=id_, reason=reason, pulled_by=name, pulled_at=pulled_at)
