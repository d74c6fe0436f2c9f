"""The whole plant in figures: runs, queues, jobs and workers, for Prometheus, health and the doctor."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Float, cast, func, select
from sqlalchemy.orm import Session

from app import andon
from app.jobs import QUEUE_OF, Queue
from app.kinds import JobKind
from app.models import Comparison, ComparisonState, Job, JobState, Phase, Run, Tally, Worker

SILENT_SECONDS = 30.0
"""A worker that has not been seen for so long is taken to be gone; it says that it lives every few seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFigures:
    """One run that is not over."""

    id: UUID
    phase: Phase
    usable: int
    episodes: int
    ready: int
    """Comparisons that wait for an answer."""
    oldest_seconds: float
    """Age of the oldest of them, and so of its samples; 0 without any."""
    cord_pulled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFigures:
    """One queue, as the job table has it: the broker may have lost messages, which are sent again."""

    queue: Queue
    waiting: int
    oldest_seconds: float
    """Since the oldest waiting job was made; 0 without any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFigures:
    """Jobs of one kind in one state."""

    kind: JobKind
    state: JobState
    jobs: int
    failures: int
    """Attempts that raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFigures:
    """One worker process."""

    name: str
    queues: tuple[str, ...]
    silent_seconds: float
    job_id: UUID | None
    """What it works on; of several the first."""
    memory_bytes: int
    gpu: str | None
    gpu_used_bytes: int | None
    gpu_total_bytes: int | None

    @property
    def lives(self) -> bool:
        """Whether it was seen lately."""
        return self.silent_seconds < SILENT_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """All of it, at one moment."""

    labels: int
    """Answers that stand, in all runs."""
    runs: tuple[RunFigures, ...]
    queues: tuple[QueueFigures, ...]
    jobs: tuple[JobFigures, ...]
    workers: tuple[WorkerFigures, ...]


def plant(session: Session) -> Plant:
    """What there is now. No statement reads the labels or the samples, however many there are."""
    return Plant(
        labels=session.scalar(select(func.coalesce(func.sum(Tally.answers), 0))) or 0,
        runs=_runs(session),
        queues=_queues(session),
        jobs=_jobs(session),
        workers=workers(session),
    )


def workers(session: Session) -> tuple[WorkerFigures, ...]:
    """Those that run and those that were killed and not replaced, by name."""
    silent = cast(func.extract("epoch", func.clock_timestamp() - Worker.seen_at), Float)
    running = select(Job.worker, Job.id).where(Job.state == JobState.RUNNING).order_by(Job.created_at.desc())
    at_work = {row.worker: row.id for row in session.execute(running)}
    found = session.execute(select(Worker, silent).order_by(Worker.name))
    return tuple(
        WorkerFigures(
            name=one.name,
            queues=tuple(one.queues),
            silent_seconds=max(0.0, seconds),
            job_id=at_work.get(one.name),
            memory_bytes=one.memory_bytes,
            gpu=one.gpu,
            gpu_used_bytes=one.gpu_used_bytes,
            gpu_total_bytes=one.gpu_total_bytes,
        )
        for one, seconds in found
    )


def unserved(found: Sequence[WorkerFigures]) -> list[Queue]:
    """Queues that no living worker serves."""
    served = {queue for worker in found if worker.lives for queue in worker.queues}
    return [queue for queue in Queue if queue not in served]


def _runs(session: Session) -> tuple[RunFigures, ...]:
    pulled = andon.stopped(session)
    return tuple(
        RunFigures(
            id=run.id,
            phase=run.phase,
            usable=run.labels_usable,
            episodes=run.episodes,
            ready=ready,
            oldest_seconds=oldest,
            cord_pulled=run.id in pulled,
        )
        for run in session.scalars(select(Run).where(Run.phase != Phase.STOPPED).order_by(Run.created_at))
        for ready, oldest in [_waiting(session, run.id)]
    )


def _waiting(session: Session, run_id: UUID) -> tuple[int, float]:
    age = cast(func.extract("epoch", func.clock_timestamp() - func.min(Comparison.created_at)), Float)
    waiting = select(func.count(), age).where(Comparison.run_id == run_id, Comparison.state == ComparisonState.READY)
    count, seconds = session.execute(waiting).one()
    return count, seconds or 0.0


def _queues(session: Session) -> tuple[QueueFigures, ...]:
    age = cast(func.extract("epoch", func.clock_timestamp() - func.min(Job.created_at)), Float)
    open_jobs = select(Job.kind, func.count(), age).where(Job.state == JobState.QUEUED).group_by(Job.kind)
    by_kind = {kind: (count, seconds) for kind, count, seconds in session.execute(open_jobs)}
    of_queue = {queue: [by_kind[kind] for kind in by_kind if QUEUE_OF[kind] == queue] for queue in Queue}
    return tuple(
        QueueFigures(
            queue=queue,
            waiting=sum(count for count, _ in found),
            oldest_seconds=max((seconds for _, seconds in found), default=0.0),
        )
        for queue, found in of_queue.items()
    )


def _jobs(session: Session) -> tuple[JobFigures, ...]:
    counted = select(Job.kind, Job.state, func.count(), func.sum(Job.failures)).group_by(Job.kind, Job.state)
    return tuple(
        JobFigures(kind=kind, state=state, jobs=jobs, failures=failures)
        for kind, state, jobs, failures in session.execute(counted)
    )
