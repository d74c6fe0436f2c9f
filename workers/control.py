"""Tasks of the `control` worker: no torch, several at once, each a few short queries."""

from uuid import UUID

import structlog

from app import runs
from app.db import session_scope
from app.jobs import ADVANCE_RUN, TICK
from workers import fencing, plan
from workers.celery_app import celery
from workers.database_task import DatabaseTask

log = structlog.get_logger()


@celery.task(name=ADVANCE_RUN, bind=True, base=DatabaseTask)  # type: ignore[untyped-decorator]
def advance_run(self: DatabaseTask, run_id: str) -> None:
    """Start what a run needs next. Safe to deliver twice, and together with itself."""
    with session_scope(self.factory) as session:
        actions = plan.advance(session, UUID(run_id))
    if actions:
        log.info("run_advanced", run=run_id, actions=[str(action) for action in actions])


@celery.task(name=TICK, bind=True, base=DatabaseTask)  # type: ignore[untyped-decorator]
def tick(self: DatabaseTask) -> None:
    """Every second: send again what is due, and look at each running run."""
    settings = self.settings
    with session_scope(self.factory) as session:
        revived = fencing.revive(session, stale_seconds=settings.stale_seconds, resend_seconds=settings.resend_seconds)
        running = runs.running(session)
    if revived:
        log.info("jobs_sent_again", jobs=revived)
    for run_id in running:
        advance_run(str(run_id))
