"""The tables, one noun per file."""

from app.kinds import Question, Split, Verdict
from app.models.account import Account, ApiToken, Invite, RateLimit, Role, Scope, SignInMethod, WebSession
from app.models.agreement import Agreement
from app.models.andon import Andon
from app.models.assignment import Assignment, AssignmentState
from app.models.audit import Audit
from app.models.base import Base, id_by_time
from app.models.checkpoint import Checkpoint, CheckpointKind, Standing
from app.models.comparison import Comparison, ComparisonSample, ComparisonState, Purpose
from app.models.contest import Contest, ContestItem
from app.models.evaluation import Evaluation
from app.models.exclusion import Exclusion
from app.models.gold import Gold
from app.models.guideline import Acknowledgement, Guideline
from app.models.job import Job, JobState
from app.models.label import Label, LabelAnswer
from app.models.label_set import LabelSet, LabelSetItem
from app.models.metric import Metric
from app.models.practice import PracticeAnswer, PracticeItem
from app.models.prompt import Prompt
from app.models.run import Phase, Run
from app.models.sample import Sample, SamplePurpose, SampleReading, SampleScore
from app.models.stretch import MetricStretch
from app.models.tally import Tally
from app.models.worker import Worker

__all__ = [
    "Account",
    "Acknowledgement",
    "Agreement",
    "Andon",
    "ApiToken",
    "Assignment",
    "AssignmentState",
    "Audit",
    "Base",
    "Checkpoint",
    "CheckpointKind",
    "Comparison",
    "ComparisonSample",
    "ComparisonState",
    "Contest",
    "ContestItem",
    "Evaluation",
    "Exclusion",
    "Gold",
    "Guideline",
    "Invite",
    "Job",
    "JobState",
    "Label",
    "LabelAnswer",
    "LabelSet",
    "LabelSetItem",
    "Metric",
    "MetricStretch",
    "Phase",
    "PracticeAnswer",
    "PracticeItem",
    "Prompt",
    "Purpose",
    "Question",
    "RateLimit",
    "Role",
    "Run",
    "Sample",
    "SamplePurpose",
    "SampleReading",
    "SampleScore",
    "Scope",
    "SignInMethod",
    "Split",
    "Standing",
    "Tally",
    "Verdict",
    "WebSession",
    "Worker",
    "id_by_time",
]
