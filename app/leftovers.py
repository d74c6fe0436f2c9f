"""Uploads and files of exports that nobody needs any more: which they are, and their removal.

What lies on the disk is the truth: a file that is gone is shown as gone. An upload is in use while a job that names it
is not done, an export while its own job is not; both stay some days after their last use.
"""

import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import transfers, uploads
from app.kinds import CARRIED
from app.models import Job, JobState

DAY = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A folder that may go."""

    path: Path
    what: str
    bytes: int

    def __str__(self) -> str:
        return self.what


def survey(session: Session, home: Path, *, days: int) -> list[Leftover]:
    """Uploads and exports whose last use lies at least `days` back; changes nothing."""
    latest = time.time() - days * DAY
    old = [one for one in _folders(home) if _touched(one) <= latest]  # before the rows: what is asked for now is young
    used = _used(session) if old else {}
    return [_leftover(one) for one in old if used.get(one.name, -math.inf) <= latest]


def remove(session: Session, home: Path, *, days: int) -> list[Leftover]:
    """Remove what a survey finds now; what was removed."""
    going = survey(session, home, days=days)
    for one in going:
        shutil.rmtree(one.path, ignore_errors=True)
    return going


def _folders(home: Path) -> Iterator[Path]:
    for root in (uploads.folder(home), transfers.exports_folder(home)):
        if root.is_dir():
            yield from sorted(path for path in root.iterdir() if path.is_dir())


def _touched(folder: Path) -> float:
    """When a folder or a file in it was written or kept last; a file that goes meanwhile says that it is in use."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except FileNotFoundError:
        return math.inf


def _used(session: Session) -> dict[str, float]:
    """When each upload and export was in use last, in seconds since 1970, by the name of its folder."""
    source = Job.args["order"]["source"].as_string()
    rows = session.execute(
        select(Job.id, source, Job.state, func.extract("epoch", Job.finished_at)).where(Job.kind.in_(CARRIED))
    )
    used: dict[str, float] = {}
    for job_id, given, state, finished in rows:
        name = uploads.key_of(given) if given and uploads.is_upload(given) else str(job_id)
        at = math.inf if state in (JobState.QUEUED, JobState.RUNNING) else float(finished or 0.0)
        used[name] = max(at, used.get(name, -math.inf))
    return used


def _leftover(folder: Path) -> Leftover:
    files = [path for path in folder.rglob("*") if path.is_file()]
    kind = "export" if folder.parent.name == "exports" else "upload"
    names = ", ".join(sorted(path.name for path in files)[:3]) or "empty"
    size = sum(path.stat().st_size for path in files)
    return Leftover(path=folder, what=f"{kind} {folder.name[:8]} ({names})", bytes=size)
