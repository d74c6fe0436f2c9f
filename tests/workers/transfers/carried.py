"""Jobs that carry data, claimed and done as a worker does them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from app.db import SessionFactory, session_scope
from app.models import Job
from workers import fencing
from workers.transfers import Errand


def errand_on(
    factory: SessionFactory, job_id: UUID, home: Path, *, should_stop: Callable[[], bool] = lambda: False
) -> Errand:
    """A claimed job."""
    with session_scope(factory) as session:
        claim = fencing.claim(session, job_id, worker="w", stale_seconds=30.0)
    assert claim is not None
    return Errand(claim=claim, factory=factory, home=home, should_stop=should_stop)


def result_of(factory: SessionFactory, job_id: UUID) -> dict[str, Any]:
    """What a job that is done left behind."""
    with session_scope(factory) as session:
        job = session.get_one(Job, job_id)
        assert job.state == "done", job.error
        assert job.result is not None
        return job.result
