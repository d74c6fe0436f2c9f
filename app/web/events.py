"""A run as a stream: server-sent events, one whenever something changed.

However many people watch a run, each web process looks at it once a second.

Source: HTML standard, section 9.2 (server-sent events).
"""

import time
from collections.abc import AsyncIterator
from typing import Annotated, cast
from uuid import UUID

import anyio
import structlog
from fastapi import APIRouter, Depends, Request
from sse_starlette import EventSourceResponse, ServerSentEvent

from app import runs
from app.db import SessionFactory
from app.web.dashboard import Snapshot, snapshot
from app.web.deps import ResearcherDep, SessionDep, SessionFactoryDep
from app.web.watching import Watch, Watches

router = APIRouter(include_in_schema=False)
log = structlog.get_logger()

HEARTBEAT_SECONDS = 10
"""A comment goes out this often, so that proxies keep the line open and dead lines are noticed."""
STREAM_SECONDS = 900.0
"""A stream ends after so long and the browser opens another: whoever was signed out meanwhile stays out."""
RETRY_MILLISECONDS = 2000


async def get_watches(request: Request) -> Watches:
    """The watched runs of this process."""
    return cast(Watches, request.app.state.watches)


WatchesDep = Annotated[Watches, Depends(get_watches)]


@router.get("/runs/{run_id}/events")
def stream(
    run_id: UUID, _: ResearcherDep, session: SessionDep, factory: SessionFactoryDep, watches: WatchesDep
) -> EventSourceResponse:
    """`status` events with the JSON of `status.json`, the first at once."""
    runs.get(session, run_id)
    watch = watches.of(run_id, lambda: read(factory, run_id))
    return EventSourceResponse(
        changes(watch),
        ping=HEARTBEAT_SECONDS,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def read(factory: SessionFactory, run_id: UUID) -> Snapshot:
    """One look; the connection goes back to the pool at the end."""
    with factory() as session:
        return snapshot(session, run_id)


async def changes(watch: Watch, *, stream_seconds: float = STREAM_SECONDS) -> AsyncIterator[ServerSentEvent]:
    """What differs from the last event of this stream.

    Ends after `stream_seconds`, or when the database or the run is gone: the browser then tries again by itself.
    """
    last = None
    end = time.monotonic() + stream_seconds
    while time.monotonic() < end:
        seen = await watch.newest()
        if seen.error is not None:
            log.warning("event_stream_ended", error=str(seen.error))
            return
        if seen.change != last:
            last = seen.change
            yield ServerSentEvent(seen.json, event="status", retry=RETRY_MILLISECONDS)
        await anyio.sleep(watch.poll_seconds)
