"""What became of a run, in one piece: for a page that can be printed and kept."""

import random
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import contests
from app.hparams import RunHParams, Setting, settings_of
from app.models import Account, Andon, Comparison, Label, Prompt, Run, Sample, SamplePurpose, Verdict
from app.reports.accuracy import Accuracy, incoming_accuracy
from app.reports.checkpoints import CheckpointReport, checkpoints
from app.reports.contests import ContestResult, contest_result
from app.reports.run_quality import AgreementReport, agreement
from app.reports.series import Series, metrics
from app.reports.summary import RunSummary, run_summary
from app.usable import is_current

SHOWN = (
    "objective/score",
    "objective/score_total",
    "objective/kl",
    "objective/kl_coef",
    "objective/entropy",
    "objective/response_length",
    "objective/valid_fraction",
    "ppo/loss/value",
    "ppo/policy/clipfrac",
    "ppo/val/var_explained",
    "reward/accuracy_incoming",
    "reward/accuracy_valid",
    "reward/calibration_error_heldout",
    "copying/novel_sentences",
    "copying/novel_bigrams",
    "copying/openings",
    "copying/position",
)
POINTS = 200
SAMPLES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """A pull of the cord."""

    at: datetime
    by: str | None
    """None: Prefloop itself."""
    reason: str
    released_at: datetime | None
    note: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedSample:
    """A text drawn at random."""

    policy: str
    prompt: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """Settings, labels, agreement, curves, policies, head-to-heads, texts, pulls."""

    made_at: datetime
    summary: RunSummary
    settings: tuple[Setting, ...]
    labels: dict[str, int]
    """Current answers by verdict."""
    labelers: tuple[tuple[str, int], ...]
    """Answers that stand, by labeler."""
    agreement: AgreementReport | None
    """Among those who answered the same comparisons, as last worked out."""
    accuracy: Accuracy
    curves: tuple[Series, ...]
    policies: tuple[CheckpointReport, ...]
    contests: tuple[ContestResult, ...]
    samples: tuple[ReportedSample, ...]
    pulls: tuple[Pull, ...]


def run_report(session: Session, run_id: UUID) -> RunReport:
    """The report as of now. Raises: NotFoundError."""
    summary = run_summary(session, run_id)
    run = session.get_one(Run, run_id)
    answers = select(Label.verdict, func.count()).join(Comparison).where(Comparison.run_id == run_id, is_current())
    by_verdict = session.execute(answers.where(Label.verdict != Verdict.UNDONE).group_by(Label.verdict)).all()
    return RunReport(
        made_at=session.scalars(select(func.clock_timestamp())).one(),
        summary=summary,
        settings=tuple(settings_of(RunHParams.model_validate(run.hparams))),
        labels={verdict.value: count for verdict, count in by_verdict},
        labelers=_labelers(session, run_id),
        agreement=agreement(session, run_id),
        accuracy=incoming_accuracy(session, run_id),
        curves=tuple(one for one in metrics(session, run_id, SHOWN, POINTS) if one.points),
        policies=tuple(one for one in checkpoints(session, run_id) if one.kind == "policy"),
        contests=tuple(contest_result(session, one.id) for one in contests.of_run(session, run_id)),
        samples=_samples(session, run),
        pulls=_pulls(session, run_id),
    )


def _labelers(session: Session, run_id: UUID) -> tuple[tuple[str, int], ...]:
    counted = (
        select(Account.name, func.count())
        .join(Label, Label.labeler_id == Account.id)
        .join(Comparison, Comparison.id == Label.comparison_id)
        .where(Comparison.run_id == run_id, is_current(), Label.verdict.not_in((Verdict.UNDONE, Verdict.SKIP)))
        .group_by(Account.id)
        .order_by(func.count().desc(), Account.name)
    )
    return tuple((name, count) for name, count in session.execute(counted))


def _samples(session: Session, run: Run) -> tuple[ReportedSample, ...]:
    """Of the serving policy and the reference, on the test prompts that every policy continues; seeded by the run."""
    rows = session.execute(
        select(Sample.policy_id, Prompt.text, Sample.text)
        .join(Prompt, Prompt.id == Sample.prompt_id)
        .where(
            Sample.run_id == run.id,
            Sample.purpose == SamplePurpose.SHOWCASE,
            Sample.policy_id.in_((run.reference_id, run.serving_id)),
        )
        .order_by(Sample.id)
    ).all()
    chosen = random.Random(str(run.id)).sample(rows, min(SAMPLES, len(rows)))
    return tuple(
        ReportedSample(policy="reference" if policy == run.reference_id else "serving policy", prompt=prompt, text=text)
        for policy, prompt, text in chosen
    )


def _pulls(session: Session, run_id: UUID) -> tuple[Pull, ...]:
    rows = session.execute(
        select(Andon, Account.name)
        .outerjoin(Account, Account.id == Andon.pulled_by_id)
        .where(Andon.run_id == run_id)
        .order_by(Andon.created_at)
    )
    return tuple(
        Pull(at=one.created_at, by=name, reason=one.reason, released_at=one.released_at, note=one.note)
        for one, name in rows
    )
