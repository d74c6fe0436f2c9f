"""How often a run is looked at: looking counts labels, which takes longer the more there are."""

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
