"""Bodies of the API: what comes in is checked here, what goes out is named here."""

from datetime import UTC, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app import guidelines, history, labeling, reports
from app.answers import Said
from app.hot import MOST_LEASES
from app.hparams import Setting
from app.kinds import JobKind
from app.models import Andon, Job, JobState, Phase, Question, Run, Verdict

Text = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$")]
"""What people type: PostgreSQL stores no NUL."""
Reason = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[^\x00]*$")]
Time = Annotated[datetime, AfterValidator(lambda time: time.astimezone(UTC))]


class Body(BaseModel):
    """Unknown members are refused: a misspelt one must not be ignored."""

    model_config = ConfigDict(extra="forbid")


class NewRun(Body):
    """A run to be."""

    name: Reason
    base_model: Reason
    preset: str = "sentiment-small"
    hparams: dict[str, Any] = {}
    """Changes to the preset, nested as in a run's `hparams`."""


class CloneRun(Body):
    """A run like another."""

    name: Reason
    base_model: Reason | None = None
    hparams: dict[str, Any] = {}
    """Changes, nested as in a run's `hparams`."""


class ComparedRuns(BaseModel):
    """Runs beside each other."""

    runs: list[reports.RunSummary]
    differences: dict[str, list[Any]]
    """By path of each setting in which they are not all alike: its values, in the order of the runs."""


class SettingsOut(BaseModel):
    """Hyperparameters with their documentation."""

    settings: list[Setting]


class PresetsOut(BaseModel):
    """Names of presets."""

    presets: list[str]


class RunOut(BaseModel):
    """A run in a list."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    base_model: str
    phase: Phase
    note: str | None
    waiting_for: str | None
    created_at: Time
    episodes: int
    labels_usable: int
    labels_required: int

    @classmethod
    def of(cls, run: Run) -> Self:
        """From its row."""
        return cls.model_validate(run)


class RunsOut(BaseModel):
    """All runs, newest first."""

    runs: list[RunOut]


class SeriesOut(BaseModel):
    """Curves, in the order asked."""

    series: tuple[reports.Series, ...]


class CheckpointsOut(BaseModel):
    """Checkpoints, newest first."""

    checkpoints: tuple[reports.CheckpointReport, ...]


class Note(Body):
    """Why something is done."""

    note: Text = ""


class RollBack(Body):
    """Where PPO goes on."""

    checkpoint: UUID
    note: Text = ""


class Cord(Body):
    """Why the line must stop."""

    reason: Reason


class AndonOut(BaseModel):
    """A pull of the cord."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    reason: str
    created_at: Time
    released_at: Time | None
    note: str | None

    @classmethod
    def of(cls, andon: Andon) -> Self:
        """From its row."""
        return cls.model_validate(andon)


class LeaseRequest(Body):
    """How many comparisons a labeler wants at hand."""

    count: Annotated[int, Field(ge=1, le=MOST_LEASES)] = 1


class SampleOut(BaseModel):
    """A text to choose."""

    id: UUID
    text: str


class LeaseOut(BaseModel):
    """A comparison lent to a labeler, its samples in the order to show."""

    assignment: UUID
    comparison: UUID
    prompt: str
    samples: list[SampleOut]
    expires_at: Time

    @classmethod
    def of(cls, lease: labeling.Lease) -> Self:
        """From what the use case lent."""
        return cls(
            assignment=lease.assignment_id,
            comparison=lease.comparison_id,
            prompt=lease.prompt,
            samples=[SampleOut(id=id_, text=text) for id_, text in lease.samples],
            expires_at=lease.expires_at,
        )


class LeasesOut(BaseModel):
    """What the labeler holds now, and how far everybody is."""

    leases: list[LeaseOut]
    progress: labeling.Progress


class Answer(Body):
    """One answer."""

    verdict: Verdict
    choice: UUID | None = None
    """The chosen sample's id, if and only if the verdict is `best`."""
    reason: Text | None = None
    strength: Annotated[int, Field(ge=1, le=9)] | None = None
    """How much better the chosen one of a pair is, 1 to 4, where the run asks for it; elsewhere kept and not used."""
    milliseconds: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    answers: dict[Question, int | str] = {}
    """To the run's questions: a rating from 1 to 7 for an axis, words for the others."""

    def said(self) -> Said:
        """As the use case takes it."""
        return Said(**dict(self))


class LabelOut(BaseModel):
    """An answer that is in the database."""

    label: UUID
    revision: int


class AnsweredOut(BaseModel):
    """An answer of yours that stands."""

    label: UUID
    revision: int
    lease: LeaseOut
    """What was shown; the lease is over."""
    verdict: Verdict
    choice: UUID | None
    strength: int | None
    answers: dict[str, int | str]
    answered_at: Time

    @classmethod
    def of(cls, answered: history.Answered) -> Self:
        """From what the use case found."""
        return cls(
            label=answered.label_id,
            revision=answered.revision,
            lease=LeaseOut.of(answered.lease),
            verdict=answered.verdict,
            choice=answered.choice,
            strength=answered.strength,
            answers=answered.answers,
            answered_at=answered.answered_at,
        )


class AnsweredListOut(BaseModel):
    """Your newest answers, newest first."""

    answers: list[AnsweredOut]


class GuidelineText(Body):
    """A guideline to be."""

    text: Annotated[str, Field(min_length=1, max_length=guidelines.MOST_CHARACTERS, pattern=r"^[^\x00]*$")]
    """Markdown."""


class GuidelineOut(BaseModel):
    """A version of a run's guideline."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    version: int
    text: str
    created_at: Time


class UndoneOut(BaseModel):
    """The comparison is back."""

    lease: LeaseOut


class Flag(Body):
    """What is wrong with a comparison."""

    reason: Reason


class GenerateRequest(Body):
    """Text on demand."""

    checkpoint: UUID
    prompt: str
    count: int = 4


class JobRef(BaseModel):
    """A job that was queued."""

    job: UUID


class JobOut(BaseModel):
    """A job and, once it is done, its result."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    run_id: UUID | None
    kind: JobKind
    state: JobState
    created_at: Time
    finished_at: Time | None
    error: str | None
    progress: dict[str, Any] | None
    result: dict[str, Any] | None

    @classmethod
    def of(cls, job: Job) -> Self:
        """From its row."""
        return cls.model_validate(job)
