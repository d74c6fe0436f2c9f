"""What the labelers have done together. Thread-safe."""

import time
from collections import Counter
from dataclasses import dataclass, field
from threading import Lock


@dataclass(kw_only=True)
class Tally:
    """Counts, and the right to one more label."""

    limit: int | None
    """Labels in all; None: no end."""
    given: Counter[str] = field(default_factory=Counter)
    """Labels that the server has, by labeler."""
    verdicts: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    """Requests sent again."""
    trouble: str | None = None
    """Why nothing happens just now, for people."""
    started: float = field(default_factory=time.monotonic)
    _promised: int = 0
    _lock: Lock = field(default_factory=Lock)

    def wanted(self) -> int | None:
        """How many more labels nobody works on yet; None: no end."""
        with self._lock:
            return None if self.limit is None else self.limit - self._promised

    def promise(self) -> bool:
        """Take on one more label; False if all are taken."""
        with self._lock:
            if self.limit is not None and self._promised >= self.limit:
                return False
            self._promised += 1
            return True

    def break_promise(self) -> None:
        """It came to nothing; somebody else may give it."""
        with self._lock:
            self._promised -= 1

    def keep_promise(self, name: str, verdict: str) -> None:
        """The server has the label."""
        with self._lock:
            self.given[name] += 1
            self.verdicts[verdict] += 1
            self.trouble = None

    def repeat(self, why: str) -> None:
        """A request has to be sent again."""
        with self._lock:
            self.repeats += 1
            self.trouble = why

    def wait(self, why: str | None) -> None:
        """There is nothing to label."""
        with self._lock:
            self.trouble = why

    @property
    def is_full(self) -> bool:
        """Whether the server has all labels that were wanted."""
        return self.limit is not None and self.total >= self.limit

    @property
    def total(self) -> int:
        """Labels that the server has."""
        return self.given.total()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started
