"""An append-only file of events: what stands in it happened, whatever is killed."""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from app.errors import ConflictError, InvalidError, UnavailableError
from workers.offline.events import EVENT, AnyEvent

NAME = "journal.jsonl"


class Journal:
    """The journal of one experiment, held by one process at a time."""

    def __init__(self, folder: Path) -> None:
        """Open or make the journal in `folder`, which is made if there is none.

        Raises: ConflictError while another process works there; UnavailableError if the folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / NAME).open("ab", buffering=0)  # a buffer would keep what a full disk has refused
        except OSError as error:
            raise UnavailableError(f"Cannot write to {folder}: {error.strerror}. Choose another folder.") from error
        self.path = folder / NAME
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise ConflictError(f"Another process is at work in {folder}: wait for it or choose another.") from error

    def read(self) -> list[AnyEvent]:
        """All events; half a line, left by a kill, is taken off the file.

        Raises: InvalidError naming a line that is no event.
        """
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            os.truncate(self.path, len(whole))
        return [self._parsed(number, line) for number, line in enumerate(whole.splitlines(), start=1)]

    def append(self, events: Sequence[AnyEvent]) -> None:
        """Write events and wait until the disk has them.

        Raises: UnavailableError if it has no room; what was written before stays.
        """
        start = self.path.stat().st_size
        try:
            lines = b"".join(EVENT.dump_json(event) + b"\n" for event in events)
            while lines:  # a disk that is nearly full takes a part
                lines = lines[self._file.write(lines) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            os.truncate(self.path, start)
            raise UnavailableError(
                f"Cannot write {self.path}: {error.strerror}. Free some space and start the same command again; it "
                "goes on from here."
            ) from error

    def close(self) -> None:
        """Let another process in."""
        self._file.close()

    def _parsed(self, number: int, line: bytes) -> AnyEvent:
        try:
            return EVENT.validate_json(line)
        except ValidationError as error:
            raise InvalidError(
                f"{self.path}, line {number}: not an event of this version. Put the file back as it was, or start a "
                "new experiment in another folder."
            ) from error
