"""Task of the `trainer` worker: a shell around the handlers. Claim, work under a heartbeat, or note the failure.

The solo pool runs one job at a time in the worker's main thread. What a job computed is recorded in one transaction
that fails if another worker has taken the job over meanwhile.
"""

import socket
import traceback
from functools import cached_property
from threading import Event
from typing import Any
from uuid import UUID

import structlog
from celery.signals import worker_ready, worker_shutting_down

from app.db import session_scope
from app.errors import DomainError
from app.jobs import WORK, Queue, wake_run
from workers import fencing, listening
from workers.celery_app import celery
from workers.checkpoints import CheckpointError
from workers.database_task import DatabaseTask
from workers.fencing import LostJobError
from workers.handlers import HANDLERS
from workers.heartbeat import heartbeat
from workers.models import ModelUnavailableError
from workers.rlhf.guards import GuardError
from workers.work import Work
from workers.workshop import Workshop

EXPLAINED = (DomainError, CheckpointError, ModelUnavailableError, GuardError)
"""Errors whose message says all; of others the trace is kept too."""

log = structlog.get_logger()


class TrainerTask(DatabaseTask):
    """A task with database and models, so that models stay between jobs."""

    abstract = True

    @cached_property
    def workshop(self) -> Workshop:
        """Models and checkpoints of this process."""
        return Workshop(self.settings.home, threads=self.settings.trainer_threads)

    @cached_property
    def activity(self) -> listening.Activity:
        """When this process last worked."""
        return listening.Activity()

    @cached_property
    def stopping(self) -> Event:
        """Set when the worker was asked to stop: a job then ends at its next good place."""
        event = Event()

        def stop(**_: object) -> None:
            event.set()

        worker_shutting_down.connect(stop, weak=False)
        return event


@celery.task(name=WORK, bind=True, base=TrainerTask)  # type: ignore[untyped-decorator]
def work(self: TrainerTask, job_id: str) -> None:
    """Do one job row. Safe to deliver twice: the second delivery finds it claimed or done."""
    settings = self.settings
    worker = f"{socket.gethostname()}:{self.request.hostname}"
    with session_scope(self.factory) as session:
        mine = fencing.claim(session, UUID(job_id), worker=worker, stale_seconds=settings.stale_seconds)
    if mine is None:
        return
    log.info("job_started", kind=mine.kind, step=mine.step, attempt=mine.attempt)
    with self.activity, heartbeat(self.factory, mine, seconds=settings.heartbeat_seconds) as lost:
        stop = self.stopping
        handed = Work(
            claim=mine,
            factory=self.factory,
            workshop=self.workshop,
            should_stop=lambda: stop.is_set() or lost.is_set(),
        )
        _do(handed)


@worker_ready.connect  # type: ignore[untyped-decorator]
def _listen(sender: Any, **_: object) -> None:
    served = {Queue(queue.name) for queue in sender.task_consumer.queues}
    listening.watch(work.factory, celery, work.activity, served)


def _do(handed: Work) -> None:
    mine = handed.claim
    try:
        HANDLERS[mine.kind](handed)
    except LostJobError as error:
        log.warning("job_lost", kind=mine.kind, step=mine.step, error=str(error))
    except Exception as error:
        handed.workshop.forget()  # models may be half-updated; the next job loads them from disk
        log.exception("job_failed", kind=mine.kind, step=mine.step)
        with handed.transaction() as session:
            fencing.fail(session, mine, _explained(error))
            wake_run(session, mine.run_id)
    else:
        log.info("job_done", kind=mine.kind, step=mine.step)


def _explained(error: Exception) -> str:
    if isinstance(error, EXPLAINED):
        return str(error)
    return "".join(traceback.format_exception(error))[-4000:]
