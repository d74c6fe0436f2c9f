"""One attempt at a claimed job: do it, or note why it failed."""

import traceback
from collections.abc import Callable

import structlog

from app.db import SessionFactory, session_scope
from app.errors import InvalidError
from app.jobs import wake_run
from app.kinds import CARRIED
from workers import fencing
from workers.fencing import Claim, LostJobError

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
    log.info("job_started", kind=mine.kind, step=mine.step, attempt=mine.attempt)
    try:
        do()
    except LostJobError as error:
        log.warning("job_lost", kind=mine.kind, step=mine.step, error=str(error))
    except Exception as error:
        mend()
        log.exception("job_failed", kind=mine.kind, step=mine.step)
        # Data that cannot be read today cannot be read at the next try either.
        final = mine.kind in CARRIED and isinstance(error, InvalidError)
        with session_scope(factory) as session:
            fencing.fail(session, mine, _explained(error, explained), final=final)
            if mine.of_run is not None:
                wake_run(session, mine.of_run)
    else:
        log.info("job_done", kind=mine.kind, step=mine.step)


def _explained(error: Exception, explained: tuple[type[Exception], ...]) -> str:
    if isinstance(error, explained):
        return str(error)
    return "".join(traceback.format_exception(error))[-4000:]
