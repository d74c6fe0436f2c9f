"""Uploads and exports as they lie in a home folder, some days old."""

import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from app import leftovers, transfers, uploads
from app.kinds import JobKind
from app.models import Job, JobState


def uploaded(home: Path, name: str, *, days_ago: float) -> str:
    """The source of an upload of 100 bytes."""
    with uploads.new_file(home, name) as (source, file):
        file.write(b"x" * 100)
    path = uploads.path_of(home, source)
    _age((path, path.parent), days_ago)
    return source


def exported(session: Session, home: Path, state: JobState, *, days_ago: float) -> Path:
    """The folder of an export of 50 bytes."""
    job = asked(session, JobKind.EXPORT_LABELS, None, state, days_ago=days_ago)
    folder = transfers.folder_of(home, job.id)
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "labels.jsonl").write_bytes(b"x" * 50)
    _age((folder / "deep" / "labels.jsonl", folder / "deep", folder), days_ago)
    return folder


def asked(session: Session, kind: JobKind, source: str | None, state: JobState, *, days_ago: float) -> Job:
    """A job that carries data."""
    finished = None if state in (JobState.QUEUED, JobState.RUNNING) else datetime.now(UTC) - timedelta(days=days_ago)
    job = Job(kind=kind, step=0, args={"order": {"source": source}}, state=state, finished_at=finished)
    session.add(job)
    session.flush()
    return job


def _age(paths: Iterable[Path], days: float) -> None:
    then = time.time() - days * leftovers.DAY
    for path in paths:
        os.utime(path, (then, then))
