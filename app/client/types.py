"""What the API answers, frozen and typed. Members that a newer server adds are passed over."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Me:
    """Whose token this is, and what it may be used for."""

    id: UUID
    name: str
    role: str
    login: str | None
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run in a list."""

    id: UUID
    name: str
    base_model: str
    phase: str
    """`running`, `paused`, `finished` or `stopped`."""
    note: str | None
    waiting_for: str | None
    created_at: datetime
    episodes: int
    labels_usable: int
    labels_required: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A text to choose."""

    id: UUID
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A comparison lent to a labeler."""

    assignment: UUID
    comparison: UUID
    prompt: str
    samples: tuple[Sample, ...]
    """In the order to show."""
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a labeler and the team are."""

    mine: int
    mine_today: int
    team: int
    goal: int
    waiting_for: str | None
    """Why there is nothing to do, if there is nothing."""
    cord: str | None
    """Why the andon cord is pulled, while it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leases:
    """What a labeler holds."""

    leases: tuple[Lease, ...]
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An answer that is in the database."""

    label: UUID
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Andon:
    """A pull of the cord."""

    id: UUID
    reason: str
    created_at: datetime
    released_at: datetime | None
    note: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A value of a metric."""

    step: int
    value: float | None
    """None: not a finite number."""
    low: float | None
    high: float | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A metric over time."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A policy or reward model."""

    id: UUID
    run_id: UUID
    kind: str
    number: int
    digest: str
    created_at: datetime
    episodes: int
    kl: float | None
    kl_coef: float | None
    labels: int | None
    roles: tuple[str, ...]
    """What the run uses it for now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A piece of work of the back end."""

    id: UUID
    run_id: UUID | None
    kind: str
    state: str
    """`queued`, `running`, `done` or `failed`."""
    created_at: datetime
    finished_at: datetime | None
    error: str | None
    result: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Labeler:
    """A new labeler and both ways in."""

    labeler: UUID
    token: str
    link: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody with an account."""

    id: UUID
    name: str
    role: str
    login: str | None
    created_at: datetime
    disabled_at: datetime | None
    last_seen_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An API token, without its secret."""

    id: UUID
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
