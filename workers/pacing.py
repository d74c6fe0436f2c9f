"""When something is due: a look at a run, which counts labels and takes longer the more there are; tidying up."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

SHARE = 0.05
"""Of the time, at most, is spent looking at one run."""


@dataclass(slots=True)
class Pace:
    """When each run may be looked at again."""

    clock: Callable[[], float] = time.monotonic
    due: dict[str, float] = field(default_factory=dict)

    def is_due(self, run_id: str) -> bool:
        """Whether enough time passed since the last look, for what that took."""
        return self.clock() >= self.due.get(run_id, float("-inf"))

    @contextmanager
    def look(self, run_id: str) -> Iterator[None]:
        """One look, timed."""
        begun = self.clock()
        yield
        ended = self.clock()
        self.due[run_id] = ended + (ended - begun) * (1 / SHARE - 1)


@dataclass(slots=True)
class Interval:
    """Something that is due at first, and so many seconds after it was due last."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    next: float = float("-inf")

    def is_due(self) -> bool:
        """Whether it is time; the caller does it then."""
        now = self.clock()
        if now < self.next:
            return False
        self.next = now + self.seconds
        return True
