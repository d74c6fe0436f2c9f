"""What a handler of a job works with."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from app.db import SessionFactory, session_scope
from workers.fencing import Claim
from workers.trainers import Processes, Trainers
from workers.workshop import Workshop


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A claimed job and the means to do it."""

    claim: Claim
    factory: SessionFactory
    workshop: Workshop
    team: Processes | None = None
    """Processes that train together; None: this one trains alone."""
    afterwards: list[Callable[[Callable[[], bool]], None]] = field(default_factory=list)
    """What may be done once the job is through, if nothing else is to be done; each is given what says that the worker
    stops. Losing it costs time only."""
    should_stop: Callable[[], bool]
    """True once the worker is stopping or the job belongs to another."""

    @property
    def trainers(self) -> Trainers:
        """Who trains."""
        return Trainers(workshop=self.workshop, team=self.team)

    def transaction(self) -> AbstractContextManager[Session]:
        """One short transaction; none stays open while the job computes."""
        return session_scope(self.factory)
