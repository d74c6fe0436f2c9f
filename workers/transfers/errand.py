"""What a job that carries data works with."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app import uploads
from app.db import SessionFactory, session_scope
from app.errors import InvalidError
from workers import fencing
from workers.fencing import Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """A claimed job and the means to do it."""

    claim: Claim
    factory: SessionFactory
    home: Path
    """Where uploads lie and exports go."""
    should_stop: Callable[[], bool]
    """True once the worker is stopping or the job belongs to another."""
    told: Callable[[dict[str, Any]], None] = lambda _: None
    """Hears how far the job is, whenever that is written down."""

    def transaction(self) -> AbstractContextManager[Session]:
        """One short transaction."""
        return session_scope(self.factory)

    def note(self, session: Session, progress: dict[str, Any]) -> None:
        """Write down how far the job is. Raises: LostJobError if another worker has it."""
        fencing.note(session, self.claim, progress)
        self.told(progress)

    def deadline(self, seconds: float | None) -> Callable[[], bool]:
        """Tells whether so many seconds have passed since now; None: never."""
        until = None if seconds is None else time.monotonic() + seconds
        return lambda: until is not None and time.monotonic() > until

    def place(self, source: str) -> str:
        """Where a source lies: an upload's file, else what was given: an absolute path or a hub id.

        Raises: InvalidError if the upload is gone, or if what should be a hub id is a file of this worker.
        """
        if uploads.is_upload(source):
            return str(uploads.path_of(self.home, source))
        if not Path(source).is_absolute() and Path(source).exists():
            raise InvalidError(f"{source} lies in the worker's own folder: name a path from the root on, or a hub id.")
        return source
