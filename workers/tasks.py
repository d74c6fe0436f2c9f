"""Task of the `trainer` worker: a shell around the handlers. Claim, work under a heartbeat, or note the failure.

The solo pool runs one job at a time in the worker's main thread. What a job computed is recorded in one transaction
that fails if another worker has taken the job over meanwhile.
"""

from functools import cached_property
from typing import Any
from uuid import UUID

from celery.signals import worker_ready, worker_shutdown

from app.db import session_scope
from app.errors import DomainError
from app.jobs import WORK, Queue
from workers import attempts, fencing, gpu, listening, quiet
from workers.celery_app import celery
from workers.checkpoints import CheckpointError
from workers.database_task import DatabaseTask, worker_name
from workers.handlers import HANDLERS
from workers.heartbeat import heartbeat
from workers.models import ModelUnavailableError
from workers.presence import Presence
from workers.rlhf.guards import GuardError
from workers.team import Team
from workers.team_words import Equipment, TeamError
from workers.work import Work
from workers.workshop import Workshop

EXPLAINED = (DomainError, CheckpointError, ModelUnavailableError, GuardError, TeamError)
"""Errors whose message says all; of others the trace is kept too."""


class TrainerTask(DatabaseTask):
    """A task with database and models, so that models stay between jobs."""

    abstract = True

    @cached_property
    def workshop(self) -> Workshop:
        """Models and checkpoints of this process."""
        settings = self.settings
        return Workshop(
            settings.home,
            threads=settings.trainer_threads,
            store=settings.store,
            compiled=settings.trainer_compile,
        )

    @cached_property
    def team(self) -> Team | None:
        """Processes that train together, where the settings want several."""
        settings = self.settings
        if settings.trainer_processes == 1:
            return None
        equipment = Equipment(
            home=settings.home,
            store=settings.store,
            threads=settings.trainer_threads,
            sharding=settings.trainer_sharding,
            compiled=settings.trainer_compile,
        )
        return Team(settings.trainer_processes, equipment)

    @cached_property
    def activity(self) -> listening.Activity:
        """When this process last worked."""
        return listening.Activity()


@celery.task(name=WORK, bind=True, base=TrainerTask)  # type: ignore[untyped-decorator]
def work(self: TrainerTask, job_id: str) -> None:
    """Do one job row. Safe to deliver twice: the second delivery finds it claimed or done."""
    settings = self.settings
    worker = worker_name(self.request.hostname)
    with session_scope(self.factory) as session:
        mine = fencing.claim(session, UUID(job_id), worker=worker, stale_seconds=settings.stale_seconds)
    if mine is None:
        return
    with self.activity, heartbeat(self.factory, mine, seconds=settings.heartbeat_seconds) as lost:
        stop = self.stopping
        handed = Work(
            claim=mine,
            factory=self.factory,
            workshop=self.workshop,
            team=self.team,
            should_stop=lambda: stop.is_set() or lost.is_set(),
        )
        attempts.attempt(
            mine,
            self.factory,
            lambda: HANDLERS[mine.kind](handed),
            explained=EXPLAINED,
            mend=handed.trainers.forget,  # models may be half-updated; the next job loads them from disk
        )
    with self.activity:
        attempts.afterwards(handed.afterwards, stop.is_set)


@worker_ready.connect  # type: ignore[untyped-decorator]
def _listen(sender: Any, **_: object) -> None:
    quiet.no_bars()
    served = {Queue(queue.name) for queue in sender.task_consumer.queues}
    listening.watch(work.factory, celery, work.activity, served)
    presence = Presence(
        factory=work.factory,
        name=worker_name(sender.hostname),
        queues=served,
        seconds=work.settings.heartbeat_seconds,
        gpu=gpu.memory,
    )
    presence.start()

    def stop(**_: object) -> None:
        presence.stop()
        if work.team is not None:
            work.team.disband()

    worker_shutdown.connect(stop, weak=False)
