"""A thread that says every few seconds that this worker process lives, and how much memory it takes.

A trainer in a long job answers no message; its row in `worker` tells that it lives all the same.
"""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import psutil
import structlog
from sqlalchemy import delete, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from app.db import SessionFactory, session_scope
from app.models import Worker
from workers.meters import GPU_BYTES

FORGOTTEN_HOURS = 24
"""A killed worker is listed for so long."""

log = structlog.get_logger()


class Gpu(Protocol):
    """The GPU of a process and its memory, in bytes."""

    @property
    def name(self) -> str:
        """What its maker calls it."""

    @property
    def used(self) -> int:
        """By all processes."""

    @property
    def reserved(self) -> int:
        """By this one."""

    @property
    def total(self) -> int:
        """All there is."""


def no_gpu() -> Gpu | None:
    """Of a worker that never computes on one."""
    return None


@dataclass(kw_only=True)
class Presence:
    """What one process says of itself."""

    factory: SessionFactory
    name: str
    queues: Collection[str]
    seconds: float
    gpu: Callable[[], Gpu | None] = no_gpu
    _done: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Say it now and from a thread from now on."""
        threading.Thread(target=self._keep_saying, name="presence", daemon=True).start()

    def stop(self) -> None:
        """Take the row away: a process that was asked to stop is not missed."""
        self._done.set()
        try:
            with session_scope(self.factory) as session:
                session.execute(delete(Worker).where(Worker.name == self.name))
        except SQLAlchemyError as error:  # it is forgotten after a day
            log.warning("presence_not_ended", error=str(error))

    def say(self) -> None:
        """Write the row; drop those of long ago."""
        row = self._row()
        written = insert(Worker).values(name=self.name, **row)
        again: dict[str, Any] = {**row, "seen_at": func.clock_timestamp()}
        old = func.clock_timestamp() - timedelta(hours=FORGOTTEN_HOURS)
        with session_scope(self.factory) as session:
            session.execute(written.on_conflict_do_update(index_elements=["name"], set_=again))
            session.execute(delete(Worker).where(Worker.seen_at < old))

    def _row(self) -> dict[str, Any]:
        gpu = self.gpu()
        if gpu is not None:
            for which, count in (("used", gpu.used), ("reserved", gpu.reserved), ("total", gpu.total)):
                GPU_BYTES.labels(gpu.name, which).set(count)
        return {
            "queues": sorted(self.queues),
            "memory_bytes": psutil.Process().memory_info().rss,
            "gpu": gpu and gpu.name,
            "gpu_used_bytes": gpu and gpu.used,
            "gpu_total_bytes": gpu and gpu.total,
        }

    def _keep_saying(self) -> None:
        while True:
            try:
                self.say()
            except SQLAlchemyError as error:  # the database is away or has an older schema: the work is not stopped
                log.warning("presence_missed", error=str(error))
            if self._done.wait(self.seconds):
                return
