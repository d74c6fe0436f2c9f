"""What labelers would not judge: comparisons that they flagged, and why they skipped others."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Account, Audit, Comparison, ComparisonSample, ComparisonState, Label, Prompt, Sample, Verdict
from app.usable import is_current

LISTED = 50
REASONS = 12
"""Most frequent ones; programs may give any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flagged:
    """A comparison that a labeler took out of the queue."""

    comparison: UUID
    prompt: str
    samples: tuple[str, ...]
    by: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipReason:
    """Why comparisons were skipped, without what was written beside it."""

    reason: str | None
    """None: none was given."""
    skips: int


def flagged(session: Session, run_id: UUID) -> tuple[Flagged, ...]:
    """The comparisons out of the queue now, flagged last first, at most `LISTED`."""
    out = (
        select(Comparison.id, Prompt.text)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .where(Comparison.run_id == run_id, Comparison.state == ComparisonState.FLAGGED)
    )
    rows = session.execute(out.order_by(Comparison.closed_at.desc()).limit(LISTED)).all()
    ids = [id_ for id_, _ in rows]
    acts, texts = _acts(session, run_id, ids), _texts(session, ids)
    return tuple(
        Flagged(comparison=id_, prompt=prompt, samples=tuple(texts[id_]), by=by, reason=reason, at=at)
        for id_, prompt in rows
        if id_ in acts
        for by, reason, at in [acts[id_]]
    )


def skip_reasons(session: Session, run_id: UUID) -> tuple[SkipReason, ...]:
    """Of the skips that stand, the most frequent first."""
    kind = func.split_part(Label.reason, ":", 1).label("kind")
    query = (
        select(kind, func.count())
        .join(Comparison, Comparison.id == Label.comparison_id)
        .where(Comparison.run_id == run_id, Label.verdict == Verdict.SKIP, is_current())
        .group_by(kind)
        .order_by(func.count().desc(), kind)
        .limit(REASONS)
    )
    return tuple(SkipReason(reason=reason, skips=count) for reason, count in session.execute(query))


def _acts(session: Session, run_id: UUID, ids: Sequence[UUID]) -> dict[UUID, tuple[str, str, datetime]]:
    """Who flagged each one last, why and when."""
    which = Audit.detail["comparison"].as_string()
    query = (
        select(which, Account.name, Audit.detail["reason"].as_string(), Audit.created_at)
        .join(Account, Account.id == Audit.actor_id)
        .where(Audit.run_id == run_id, Audit.action == "comparison.flagged", which.in_([str(id_) for id_ in ids]))
        .order_by(Audit.created_at)
    )
    return {UUID(id_): (name, reason, at) for id_, name, reason, at in session.execute(query)}


def _texts(session: Session, ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    query = (
        select(ComparisonSample.comparison_id, Sample.text)
        .join(Sample, Sample.id == ComparisonSample.sample_id)
        .where(ComparisonSample.comparison_id.in_(ids))
        .order_by(ComparisonSample.comparison_id, ComparisonSample.slot)
    )
    found: dict[UUID, list[str]] = {id_: [] for id_ in ids}
    for id_, text in session.execute(query):
        found[id_].append(text)
    return found
