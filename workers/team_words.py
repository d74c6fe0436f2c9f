"""What a trainer and the processes of its team say to each other; pickled, over a socket of their own machine."""

import json
import pickle
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from workers.plans import PPOPlan, RewardPlan
from workers.sharding import Sharding


class TeamError(Exception):
    """Processes that train together could not be started, or one of them is no more. The message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """What a process of the team works with: what its trainer does."""

    home: Path
    models: Path | None = None
    store: str | None = None
    threads: int = 0
    """Of all processes together; 0: all cores."""
    sharding: Sharding = "auto"
    """Whether they split one copy of what they train."""
    compiled: bool = False
    """Whether that is compiled."""

    def to_json(self) -> str:
        """For a command line."""
        return json.dumps(
            {
                "home": str(self.home),
                "models": None if self.models is None else str(self.models),
                "store": self.store,
                "threads": self.threads,
                "sharding": self.sharding,
                "compiled": self.compiled,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` gave."""
        given = json.loads(text)
        home, models = Path(given["home"]), None if given["models"] is None else Path(given["models"])
        return cls(**given | {"home": home, "models": models})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainPolicy:
    """Order: do a PPO job."""

    plan: PPOPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReward:
    """Order: fit a reward model."""

    plan: RewardPlan


Order = TrainPolicy | FitReward


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """A process is ready for orders."""

    rank: int
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MayGoOn:
    """The first process asks whether another update may start; the answer is a bool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated:
    """The first process tells of an update."""

    update: int
    stats: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """An order is carried out."""

    result: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """An order ended in an exception, taken apart: pickle would call its constructor with the wrong arguments."""

    kind: type[Exception]
    args: tuple[object, ...]
    facts: Mapping[str, object]
    trace: str

    @classmethod
    def by(cls, error: Exception, rank: int) -> Self:
        """What was raised in process `rank`; one that cannot be sent becomes a TeamError."""
        trace = f"In process {rank} of the team:\n{''.join(traceback.format_exception(error))}"
        raised = cls(kind=type(error), args=error.args, facts=dict(vars(error)), trace=trace)
        try:
            pickle.loads(pickle.dumps(raised))
        except Exception:  # whatever its parts raise when they are taken apart
            return cls(kind=TeamError, args=(str(error),), facts={}, trace=trace)
        return raised

    @property
    def error(self) -> Exception:
        """The exception again; a note holds its trace."""
        made = self.kind.__new__(self.kind)
        made.args = self.args
        vars(made).update(self.facts)
        made.add_note(self.trace)
        return made
