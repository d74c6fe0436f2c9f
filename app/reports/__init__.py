"""Read-only queries for pages, API and workers: a session in, frozen dataclasses out."""

from app.reports.accuracy import Accuracy, incoming_accuracy
from app.reports.checkpoints import CheckpointReport, Lineage, checkpoints, lineage
from app.reports.events import Event, EventKind, events
from app.reports.evidence import (
    ROLLED_BACK,
    Outcomes,
    attempt,
    blind_wins,
    choices,
    first_figures,
    fresh_since,
    update_figures,
)
from app.reports.series import Point, Series, labels_over_time, last_steps, metrics
from app.reports.showcase import Showcase, ShowcasePrompt, ShowcaseText, showcase
from app.reports.status import Status, run_status
from app.reports.summary import (
    AndonReport,
    CheckpointRef,
    CurrentCheckpoints,
    FailedJob,
    JobInFlight,
    RunSummary,
    run_summary,
)

__all__ = [
    "ROLLED_BACK",
    "Accuracy",
    "AndonReport",
    "CheckpointRef",
    "CheckpointReport",
    "CurrentCheckpoints",
    "Event",
    "EventKind",
    "FailedJob",
    "JobInFlight",
    "Lineage",
    "Outcomes",
    "Point",
    "RunSummary",
    "Series",
    "Showcase",
    "ShowcasePrompt",
    "ShowcaseText",
    "Status",
    "attempt",
    "blind_wins",
    "checkpoints",
    "choices",
    "events",
    "first_figures",
    "fresh_since",
    "incoming_accuracy",
    "labels_over_time",
    "last_steps",
    "lineage",
    "metrics",
    "run_status",
    "run_summary",
    "showcase",
    "update_figures",
]
