"""A trainer that no longer hears: found out and started again.

After a broker that hung, a worker may be connected and yet never be given another message: the acknowledgement that got
lost holds its only place. Nobody notices from outside, so the worker looks itself: idle, the broker there, and a job of
its queues waiting that has been sent again and again. Then it stops, and whoever keeps it running starts it anew.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Collection
from datetime import timedelta

import structlog
from celery import Celery
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import SessionFactory, session_scope
from app.jobs import QUEUE_OF, Queue
from app.models import Job, JobState

PATIENCE_SECONDS = 60.0
"""Longer than the watchdog takes to send a job again several times."""
LOOK_SECONDS = 10.0

log = structlog.get_logger()


class Activity:
    """When this process last had a message. Thread-safe: one float, one bool."""

    def __init__(self) -> None:
        self.busy = False
        self._since = time.monotonic()

    def __enter__(self) -> None:
        self.busy = True

    def __exit__(self, *_: object) -> None:
        self._since = time.monotonic()
        self.busy = False

    def idle_seconds(self) -> float:
        """Since the last job ended; 0 while one is under way."""
        return 0.0 if self.busy else time.monotonic() - self._since


def waits_for_nobody(session: Session, queues: Collection[Queue], *, seconds: float) -> bool:
    """Whether a job of these queues has been waiting for so long, sent again meanwhile."""
    kinds = [kind for kind, queue in QUEUE_OF.items() if queue in queues]
    old = func.clock_timestamp() - timedelta(seconds=seconds)
    again = Job.sent_at > Job.created_at + timedelta(seconds=LOOK_SECONDS)
    waiting = select(Job.id).where(Job.kind.in_(kinds), Job.state == JobState.QUEUED, Job.created_at < old, again)
    return bool(session.scalar(select(waiting.exists())))


def is_deaf(
    factory: SessionFactory, broker_answers: Callable[[], bool], activity: Activity, queues: Collection[Queue]
) -> bool:
    """Whether this worker should hear of a job and does not."""
    if activity.idle_seconds() < PATIENCE_SECONDS:
        return False
    with session_scope(factory) as session:
        waiting = waits_for_nobody(session, queues, seconds=PATIENCE_SECONDS)
    return waiting and broker_answers()


def watch(factory: SessionFactory, app: Celery, activity: Activity, queues: Collection[Queue]) -> None:
    """Look every few seconds, from a thread of its own; stop this process when it has become deaf."""

    def look() -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            try:
                deaf = is_deaf(factory, lambda: _answers(app), activity, queues)
            except Exception as error:  # the database is away: look again later
                log.warning("cannot_look", error=str(error))
                continue
            if deaf:
                log.error("worker_deaf", idle_seconds=round(activity.idle_seconds()))
                os.kill(os.getpid(), signal.SIGTERM)
                return

    threading.Thread(target=look, name="listening", daemon=True).start()


def _answers(app: Celery) -> bool:
    try:
        with app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1, timeout=2)
    except Exception:
        return False
    return True
