"""A run as a stream: server-sent events, one whenever something changed.

Source: HTML standard, section 9.2 (server-sent events).
"""

import time
from collections.abc import AsyncIterator, Callable
from uuid import UUID

import anyio
import structlog
from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from pydantic import TypeAdapter
from sqlalchemy.exc import SQLAlchemyError
from sse_starlette import EventSourceResponse, ServerSentEvent

from app import runs
from app.db import SessionFactory
from app.errors import NotFoundError
from app.web.dashboard import Snapshot, snapshot
from app.web.deps import ResearcherDep, SessionDep, SessionFactoryDep

router = APIRouter(include_in_schema=False)
log = structlog.get_logger()

POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 10
"""A comment goes out this often, so that proxies keep the line open and dead lines are noticed."""
STREAM_SECONDS = 900.0
"""A stream ends after so long and the browser opens another: whoever was signed out meanwhile stays out."""
RETRY_MILLISECONDS = 2000

_json = TypeAdapter(Snapshot)


@router.get("/runs/{run_id}/events")
def stream(run_id: UUID, _: ResearcherDep, session: SessionDep, factory: SessionFactoryDep) -> EventSourceResponse:
    """`status` events with the JSON of `status.json`, the first at once."""
    runs.get(session, run_id)
    return EventSourceResponse(
        changes(lambda: read(factory, run_id)),
        ping=HEARTBEAT_SECONDS,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def read(factory: SessionFactory, run_id: UUID) -> Snapshot:
    """One look; the connection goes back to the pool at the end."""
    with factory() as session:
        return snapshot(session, run_id)


async def changes(
    look: Callable[[], Snapshot], *, poll_seconds: float = POLL_SECONDS, stream_seconds: float = STREAM_SECONDS
) -> AsyncIterator[ServerSentEvent]:
    """Look in a thread every `poll_seconds` and yield what differs from the last event.

    Ends after `stream_seconds`, or when the database or the run is gone: the browser then tries again by itself.
    """
    last = None
    end = time.monotonic() + stream_seconds
    while time.monotonic() < end:
        try:
            seen = await run_in_threadpool(look)
        except (SQLAlchemyError, NotFoundError) as error:
            log.warning("event_stream_ended", error=str(error))
            return
        if seen.status != last:
            last = seen.status
            yield ServerSentEvent(_json.dump_json(seen).decode(), event="status", retry=RETRY_MILLISECONDS)
        await anyio.sleep(poll_seconds)
