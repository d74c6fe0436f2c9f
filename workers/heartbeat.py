"""A thread that says, while the work goes on, that the job lives; and learns when it does not any more."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.db import SessionFactory, session_scope
from workers import fencing
from workers.fencing import Claim

log = structlog.get_logger()


@contextmanager
def heartbeat(factory: SessionFactory, mine: Claim, *, seconds: float) -> Iterator[Event]:
    """Beat every `seconds` inside the block. The event is set once another worker has taken the job over."""
    lost, done = Event(), Event()
    thread = Thread(target=_beat, args=(factory, mine, seconds, lost, done), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        done.set()
        thread.join()


def _beat(factory: SessionFactory, mine: Claim, seconds: float, lost: Event, done: Event) -> None:
    while not done.wait(seconds):
        try:
            with session_scope(factory) as session:
                alive = fencing.beat(session, mine)
        except SQLAlchemyError as error:  # a database that restarts: the work goes on, the next beat may succeed
            log.warning("heartbeat_missed", job=str(mine.job_id), error=str(error))
            continue
        if not alive:
            lost.set()
            return
