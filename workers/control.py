"""Tasks of the `control` worker: no torch, several at once, each a few short queries."""

from functools import cached_property
from uuid import UUID

import structlog
from celery import Task

from app import runs
from app.broker import BrokerSender
from app.db import SessionFactory, make_engine, make_session_factory, session_scope
from app.jobs import ADVANCE_RUN, TICK
from app.settings import Settings
from workers import fencing, plan
from workers.celery_app import celery

log = structlog.get_logger()


class ControlTask(Task):  # type: ignore[misc]
    """A task with a database: Celery makes one instance per process."""

    abstract = True

    @cached_property
    def settings(self) -> Settings:
        """Settings of this process."""
        return Settings()

    @cached_property
    def factory(self) -> SessionFactory:
        """Sessions of this process."""
        engine = make_engine(self.settings.need_database_url(), pool_size=8)
        return make_session_factory(engine, BrokerSender(self.settings.need_broker_url()))


@celery.task(name=ADVANCE_RUN, bind=True, base=ControlTask)  # type: ignore[untyped-decorator]
def advance_run(self: ControlTask, run_id: str) -> None:
    """Start what a run needs next. Safe to deliver twice, and together with itself."""
    with session_scope(self.factory) as session:
        actions = plan.advance(session, UUID(run_id))
    if actions:
        log.info("run_advanced", run=run_id, actions=[str(action) for action in actions])


@celery.task(name=TICK, bind=True, base=ControlTask)  # type: ignore[untyped-decorator]
def tick(self: ControlTask) -> None:
    """Every second: send again what is due, and look at each running run."""
    settings = self.settings
    with session_scope(self.factory) as session:
        revived = fencing.revive(session, stale_seconds=settings.stale_seconds, resend_seconds=settings.resend_seconds)
        running = runs.running(session)
    if revived:
        log.info("jobs_sent_again", jobs=revived)
    for run_id in running:
        advance_run(str(run_id))
