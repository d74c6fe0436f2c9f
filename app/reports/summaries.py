"""How summaries of a run's policies copy, what people say of their accuracy, and the table of all baselines."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import copying
from app.copying import Copying
from app.models import (
    Account,
    Checkpoint,
    CheckpointKind,
    Comparison,
    Evaluation,
    Label,
    LabelAnswer,
    Metric,
    Prompt,
    Question,
    Run,
    Sample,
    SamplePurpose,
)
from app.quality import wilson_interval
from app.usable import stands

NEWEST = 256
"""Samples of a policy that are looked at."""
NOVEL = "copying/novel_sentences"
JUDGE = "summaries"
"""Names the table among a run's evaluations."""


def measured(session: Session, run_id: UUID, policy_id: UUID) -> Copying:
    """How much the newest samples of a policy copy from their prompts."""
    rows = session.execute(
        select(Prompt.text, Sample.text.label("summary"))
        .join(Prompt, Prompt.id == Sample.prompt_id)
        .where(Sample.run_id == run_id, Sample.policy_id == policy_id, Sample.purpose == SamplePurpose.COMPARISON)
        .order_by(Sample.created_at.desc(), Sample.id)
        .limit(NEWEST)
    )
    return copying.measure((row.text, row.summary) for row in rows)


def figures(found: Copying) -> dict[str, tuple[float, float | None, float | None]]:
    """Metrics: value, and its 95 % interval where it has one."""
    shares: dict[str, tuple[float, float | None, float | None]] = {
        "copying/novel_bigrams": (found.novel_grams[2], None, None),
        "copying/openings": (found.openings, None, None),
        "copying/position": (found.position, None, None),
    }
    if found.sentences:
        interval = wilson_interval(round(found.novel_sentences * found.sentences), found.sentences)
        shares[NOVEL] = (found.novel_sentences, interval.low, interval.high)
    return {name: share for name, share in shares.items() if isfinite(share[0])}


def novel_sentences(session: Session, run: Run, since: datetime) -> tuple[float, float] | None:
    """Upper end of the interval of the serving policy's share of sentences of its own, and the reference's share."""
    if run.serving_id is None or run.serving_id == run.reference_id:
        return None
    serving = session.get_one(Checkpoint, run.serving_id)
    rows = session.execute(
        select(Metric.step, Metric.value, Metric.high, Metric.recorded_at)
        .where(Metric.run_id == run.id, Metric.name == NOVEL, Metric.step.in_((0, serving.episodes)))
        .order_by(Metric.step)
    ).all()
    if len(rows) < 2 or rows[1].recorded_at <= since:
        return None
    return (rows[1].value if rows[1].high is None else rows[1].high), rows[0].value


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """What people said of the accuracy of the summaries they chose, of one writer."""

    writer: str
    summaries: int
    mean: float
    """1 to 7."""
    accurate: int
    """Rated 6 or 7."""


def audit(session: Session, run_id: UUID) -> tuple[Audited, ...]:
    """Ratings of the question `accuracy` by labels that stand, by the policy that wrote the summary."""
    rows = session.execute(
        select(
            Checkpoint.kind,
            Checkpoint.number,
            func.count().label("summaries"),
            func.avg(LabelAnswer.rating).label("mean"),
            func.count().filter(LabelAnswer.rating >= 6).label("accurate"),
        )
        .join(Label, Label.id == LabelAnswer.label_id)
        .join(Comparison, Comparison.id == Label.comparison_id)
        .join(Account, Account.id == Label.labeler_id)
        .join(Sample, Sample.id == Label.chosen_sample_id)
        .join(Checkpoint, Checkpoint.id == Sample.policy_id)
        .where(Sample.run_id == run_id, LabelAnswer.question == Question.ACCURACY, stands())
        .group_by(Checkpoint.kind, Checkpoint.number)
        .order_by(Checkpoint.kind, Checkpoint.number)
    )
    return tuple(
        Audited(
            writer="reference" if row.kind == CheckpointKind.REFERENCE else f"{row.kind} {row.number}",
            summaries=row.summaries,
            mean=float(row.mean),
            accurate=row.accurate,
        )
        for row in rows
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryTable:
    """The newest table of a run's summaries."""

    at: datetime
    samples: int
    rows: Mapping[str, Mapping[str, Any]]
    """Writer -> figures."""


def summary_table(session: Session, run_id: UUID) -> SummaryTable | None:
    """What `prefloop summaries` kept last; None before that."""
    newest = session.scalar(
        select(Evaluation)
        .where(Evaluation.run_id == run_id, Evaluation.judge == JUDGE)
        .order_by(Evaluation.created_at.desc())
        .limit(1)
    )
    if newest is None:
        return None
    rows: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in newest.result["rows"]:
        rows[row["writer"]] = row
    return SummaryTable(at=newest.created_at, samples=newest.samples, rows=rows)
