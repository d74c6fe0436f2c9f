"""Runs that somebody watches: each is looked at once in a while, for all of its viewers in this process."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from uuid import UUID
from weakref import WeakValueDictionary

import anyio
from fastapi.concurrency import run_in_threadpool
from pydantic import TypeAdapter
from sqlalchemy.exc import SQLAlchemyError

from app.errors import NotFoundError
from app.web.dashboard import Snapshot

POLL_SECONDS = 1.0

_json = TypeAdapter(Snapshot)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the last look found."""

    json: str
    change: int
    """Raised whenever the status differs from the one before."""
    error: Exception | None = None
    """Why nothing could be seen: the database or the run is gone."""


class Watch:
    """One run. There is no clockwork: whoever asks when the last look is too old looks, and the others take that.

    Args:
        look: reads the run; called in a thread, one at a time.
    """

    def __init__(self, look: Callable[[], Snapshot], *, poll_seconds: float = POLL_SECONDS) -> None:
        self.poll_seconds = poll_seconds
        self._look = look
        self._lock = anyio.Lock()
        self._due = float("-inf")
        self._last: Snapshot | None = None
        self._seen = Seen(json="", change=0)

    async def newest(self) -> Seen:
        """The last look, at most `poll_seconds` old."""
        async with self._lock:
            if time.monotonic() >= self._due:
                self._seen = await run_in_threadpool(self._looked)
                self._due = time.monotonic() + self.poll_seconds
        return self._seen

    def _looked(self) -> Seen:
        before = self._seen
        try:
            found = self._look()
        except (SQLAlchemyError, NotFoundError) as error:
            return Seen(json="", change=before.change, error=error)
        if self._last is not None and found.status == self._last.status:
            return Seen(json=before.json, change=before.change) if before.error is None else self._told(found)
        self._last = found
        return self._told(found)

    def _told(self, found: Snapshot) -> Seen:
        return Seen(json=_json.dump_json(found).decode(), change=self._seen.change + 1)


class Watches:
    """The watched runs of this process; one that nobody watches any more is forgotten. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._watches: WeakValueDictionary[UUID, Watch] = WeakValueDictionary()

    def of(self, run_id: UUID, look: Callable[[], Snapshot]) -> Watch:
        """The watch of a run; the first viewer's `look` serves all. Keep it as long as you watch."""
        with self._lock:
            watch = self._watches.get(run_id)
            if watch is None:
                watch = self._watches[run_id] = Watch(look)
            return watch

    def __len__(self) -> int:
        return len(self._watches)
