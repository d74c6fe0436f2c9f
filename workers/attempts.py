"""One attempt at a claimed job: do it, or note why it failed."""

import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import structlog

from app import logs
from app.db import SessionFactory, session_scope
from app.errors import InvalidError
from app.jobs import wake_run
from app.kinds import CARRIED
from workers import fencing
from workers.fencing import Claim, LostJobError
from workers.meters import JOB_SECONDS, JOBS_RUNNING

log = structlog.get_logger()


def attempt(
    mine: Claim,
    factory: SessionFactory,
    do: Callable[[], None],
    *,
    explained: tuple[type[Exception], ...],
    mend: Callable[[], None] = lambda: None,
) -> None:
    """Do a job. An exception is written down and queues it again, up to a bound.

    Args:
        explained: errors whose message says all; of others the trace is kept too.
        mend: called after an exception, before anything else.
    """
    started = time.monotonic()
    with logs.about(job=mine.job_id, run=mine.of_run, request_id=mine.request_id), _running(mine):
        log.info("job_started", kind=mine.kind, step=mine.step, attempt=mine.attempt)
        outcome = _outcome(mine, factory, do, explained, mend)
        seconds = time.monotonic() - started
        JOB_SECONDS.labels(mine.kind, outcome).observe(seconds)
        log.info(f"job_{outcome}", kind=mine.kind, step=mine.step, seconds=round(seconds, 2))


def _outcome(
    mine: Claim,
    factory: SessionFactory,
    do: Callable[[], None],
    explained: tuple[type[Exception], ...],
    mend: Callable[[], None],
) -> str:
    try:
        do()
    except LostJobError as error:
        log.warning("job_overtaken", error=str(error))
        return "lost"
    except Exception as error:
        mend()
        log.exception("job_raised", kind=mine.kind, step=mine.step)
        # Data that cannot be read today cannot be read at the next try either.
        final = mine.kind in CARRIED and isinstance(error, InvalidError)
        with session_scope(factory) as session:
            fencing.fail(session, mine, _explained(error, explained), final=final)
            if mine.of_run is not None:
                wake_run(session, mine.of_run)
        return "failed"
    return "done"


def afterwards(rest: Iterable[Callable[[Callable[[], bool]], None]], stopping: Callable[[], bool]) -> None:
    """Do what a job left to be done after it; an exception is logged, for the job is through."""
    for do in rest:
        try:
            do(stopping)
        except Exception:
            log.exception("afterwards_raised")


@contextmanager
def _running(mine: Claim) -> Iterator[None]:
    JOBS_RUNNING.labels(mine.kind).inc()
    try:
        yield
    finally:
        JOBS_RUNNING.labels(mine.kind).dec()


def _explained(error: Exception, explained: tuple[type[Exception], ...]) -> str:
    if isinstance(error, explained):
        return str(error)
    return "".join(traceback.format_exception(error))[-4000:]
