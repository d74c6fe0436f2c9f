"""Tasks of the `control` worker: no torch, several at once: short queries, and data that goes in or out."""

from functools import cached_property
from threading import BoundedSemaphore
from typing import Any
from uuid import UUID

import structlog
from celery.signals import worker_ready, worker_shutdown

from app import leasing, leftovers, runs, stretches
from app.db import session_scope
from app.errors import DomainError
from app.jobs import ADVANCE_RUN, ASSESS, CARRY, TICK, Queue
from workers import assessment, attempts, fencing, plan
from workers.celery_app import PERIODS, celery
from workers.database_task import DatabaseTask, worker_name
from workers.heartbeat import heartbeat
from workers.meters import LAST_TICK, RUNS_ADVANCED, TICKS
from workers.pacing import Interval, Pace
from workers.presence import Presence
from workers.transfers import HANDLERS, Errand

CARRIERS = BoundedSemaphore(2)
"""So many threads of this process carry data; the others stay free for the runs."""

TIDY_SECONDS = 3600.0

log = structlog.get_logger()


class PeriodicTask(DatabaseTask):
    """A task that comes again and again, and piles up while no worker takes it."""

    abstract = True

    @cached_property
    def interval(self) -> Interval:
        """Of this process; shorter than the period, so that only what piled up is passed over."""
        return Interval(PERIODS[self.name] / 2)


class AdvanceTask(DatabaseTask):
    """A task that knows how long it took last time."""

    abstract = True

    @cached_property
    def pace(self) -> Pace:
        """Of this process."""
        return Pace()


@celery.task(name=ADVANCE_RUN, bind=True, base=AdvanceTask)  # type: ignore[untyped-decorator]
def advance_run(self: AdvanceTask, run_id: str) -> None:
    """Start what a run needs next. Safe to deliver twice, and together with itself."""
    if not self.pace.is_due(run_id):
        return  # the tick comes again
    with self.pace.look(run_id), session_scope(self.factory) as session:
        actions = plan.advance(session, UUID(run_id))
    RUNS_ADVANCED.labels("actions" if actions else "nothing").inc()
    if actions:
        log.info("run_advanced", run=run_id, actions=[str(action) for action in actions])


class TickTask(PeriodicTask):
    """A task that knows when it tidied up last."""

    abstract = True

    @cached_property
    def tidying(self) -> Interval:
        """Of this process."""
        return Interval(TIDY_SECONDS)


@celery.task(name=TICK, bind=True, base=TickTask)  # type: ignore[untyped-decorator]
def tick(self: TickTask) -> None:
    """Every second: send again what is due, end leases that ran out, and look at each running run; tidy every hour."""
    if not self.interval.is_due():
        return
    settings = self.settings
    with session_scope(self.factory) as session:
        revived = fencing.revive(session, stale_seconds=settings.stale_seconds, resend_seconds=settings.resend_seconds)
        running = runs.running(session)
    with session_scope(self.factory) as session:
        leasing.expire(session)
    if revived:
        log.info("jobs_sent_again", jobs=revived)
    for run_id in running:
        advance_run(str(run_id))
    TICKS.inc()
    LAST_TICK.set_to_current_time()
    if self.tidying.is_due():
        _tidy(self)


def _tidy(task: DatabaseTask) -> None:
    """Remove uploads and exports that were not used for long."""
    with session_scope(task.factory) as session:
        gone = leftovers.remove(session, task.settings.home, days=task.settings.file_days)
    if gone:
        log.info("files_removed", files=[str(one) for one in gone])


@celery.task(name=ASSESS, bind=True, base=PeriodicTask)  # type: ignore[untyped-decorator]
def assess(self: PeriodicTask) -> None:
    """Every minute: fold the curves of each run, and see how far its labelers agree, where enough is new."""
    if not self.interval.is_due():
        return
    with session_scope(self.factory) as session:
        asked = [run.id for run in runs.newest_first(session)]
    for run_id in asked:
        with session_scope(self.factory) as session:
            stretches.fold(session, run_id)
        assessment.assess(lambda: session_scope(self.factory), run_id)


@celery.task(name=CARRY, bind=True, base=DatabaseTask)  # type: ignore[untyped-decorator]
def carry(self: DatabaseTask, job_id: str) -> None:
    """Do one job row of the control queue. Safe to deliver twice; while all carriers are busy the row waits."""
    if not CARRIERS.acquire(blocking=False):
        return  # the tick sends it again
    try:
        _carry(self, UUID(job_id))
    finally:
        CARRIERS.release()


def _carry(task: DatabaseTask, job_id: UUID) -> None:
    settings, factory, stop = task.settings, task.factory, task.stopping
    with session_scope(factory) as session:
        worker = worker_name(task.request.hostname)
        mine = fencing.claim(session, job_id, worker=worker, stale_seconds=settings.stale_seconds)
    if mine is None:
        return
    with heartbeat(factory, mine, seconds=settings.heartbeat_seconds) as lost:
        errand = Errand(
            claim=mine, factory=factory, home=settings.home, should_stop=lambda: stop.is_set() or lost.is_set()
        )
        attempts.attempt(mine, factory, lambda: HANDLERS[mine.kind](errand), explained=(DomainError,))


@worker_ready.connect  # type: ignore[untyped-decorator]
def _appear(sender: Any, **_: object) -> None:
    presence = Presence(
        factory=carry.factory,
        name=worker_name(sender.hostname),
        queues=[Queue(queue.name) for queue in sender.task_consumer.queues],
        seconds=carry.settings.heartbeat_seconds,
    )
    presence.start()
    worker_shutdown.connect(lambda **_: presence.stop(), weak=False)
