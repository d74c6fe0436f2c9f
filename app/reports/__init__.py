"""Read-only queries for pages, API and workers: a session in, frozen dataclasses out."""

from app.reports.accuracy import Accuracy, incoming_accuracy
from app.reports.checkpoints import CheckpointReport, Lineage, checkpoints, lineage, policy_named
from app.reports.contests import ContestResult, Example, contest_result
from app.reports.events import Event, EventKind, events
from app.reports.evidence import (
    ROLLED_BACK,
    Outcomes,
    attempt,
    blind_wins,
    choices,
    first_figures,
    fresh_since,
    open_blind,
    update_figures,
)
from app.reports.labelers import LabelerQuality, labeler, labelers
from app.reports.origins import LabelOrigin, Origins, origins
from app.reports.run_quality import AgreementReport, RunQuality, agreement, names, run_quality
from app.reports.run_report import Pull, ReportedSample, RunReport, run_report
from app.reports.series import Point, Series, labels_over_time, last_steps, metric_names, metrics
from app.reports.showcase import Showcase, ShowcasePrompt, ShowcaseText, showcase
from app.reports.status import Status, run_status
from app.reports.summaries import Audited, SummaryTable, audit, novel_sentences, summary_table
from app.reports.summary import (
    AndonReport,
    CheckpointRef,
    CurrentCheckpoints,
    FailedJob,
    JobInFlight,
    RunSummary,
    labels_per_minute,
    oldest_minutes,
    run_summary,
)

__all__ = [
    "ROLLED_BACK",
    "Accuracy",
    "AgreementReport",
    "AndonReport",
    "Audited",
    "CheckpointRef",
    "CheckpointReport",
    "ContestResult",
    "CurrentCheckpoints",
    "Event",
    "EventKind",
    "Example",
    "FailedJob",
    "JobInFlight",
    "LabelOrigin",
    "LabelerQuality",
    "Lineage",
    "Origins",
    "Outcomes",
    "Point",
    "Pull",
    "ReportedSample",
    "RunQuality",
    "RunReport",
    "RunSummary",
    "Series",
    "Showcase",
    "ShowcasePrompt",
    "ShowcaseText",
    "Status",
    "SummaryTable",
    "agreement",
    "attempt",
    "audit",
    "blind_wins",
    "checkpoints",
    "choices",
    "contest_result",
    "events",
    "first_figures",
    "fresh_since",
    "incoming_accuracy",
    "labeler",
    "labelers",
    "labels_over_time",
    "labels_per_minute",
    "last_steps",
    "lineage",
    "metric_names",
    "metrics",
    "names",
    "novel_sentences",
    "oldest_minutes",
    "open_blind",
    "origins",
    "policy_named",
    "run_quality",
    "run_report",
    "run_status",
    "run_summary",
    "showcase",
    "summary_table",
    "update_figures",
]
