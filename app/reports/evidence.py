"""What a run shows of itself, for those who decide whether it may go on: blind wins, choices, figures of updates."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session, aliased

from app import usable
from app.models import (
    Andon,
    Audit,
    Checkpoint,
    Comparison,
    ComparisonSample,
    ComparisonState,
    Label,
    LabelSetItem,
    Metric,
    Purpose,
    Run,
    Sample,
    SampleScore,
)

ROLLED_BACK = "run.rolled_back"
"""Audit action."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Yes-or-no outcomes."""

    hits: int
    misses: int


def fresh_since(session: Session, run: Run) -> datetime:
    """When the cord was last released or the run last went back, else when it began: older figures were looked at."""
    released = session.scalar(select(func.max(Andon.released_at)).where(Andon.run_id == run.id))
    moved = (Audit.run_id == run.id, Audit.action == ROLLED_BACK)
    rolled_back = session.scalar(select(func.max(Audit.created_at)).where(*moved))
    return max(at for at in (run.created_at, released, rolled_back) if at is not None)


def blind_wins(session: Session, run: Run, policy_id: UUID, since: datetime) -> Outcomes:
    """Validation comparisons of a policy against the reference, answered since: hits are those it won."""
    asked = (Comparison.purpose == Purpose.VALIDATION, _shows(policy_id), Label.created_at > since)
    label = usable.usable_labels(run.id).where(*asked).subquery()
    won = func.count().filter(Sample.policy_id == policy_id)
    lost = func.count().filter(Sample.policy_id == run.reference_id)
    chosen = select(won, lost).select_from(label).join(Sample, Sample.id == label.c.chosen_sample_id)
    hits, misses = session.execute(chosen).one()
    return Outcomes(hits=hits, misses=misses)


def open_blind(session: Session, run: Run, policy_id: UUID) -> int:
    """Validation comparisons of a policy that wait for an answer."""
    waiting = (Comparison.run_id == run.id, Comparison.state == ComparisonState.READY)
    blind = (Comparison.purpose == Purpose.VALIDATION, _shows(policy_id))
    return session.scalar(select(func.count()).select_from(Comparison).where(*waiting, *blind)) or 0


def choices(session: Session, run: Run, since: datetime) -> Outcomes:
    """Labels since that the newest reward model scored before they came, on prompts it saw no label of.

    Hits are choices in the upper half of its scores; equal scores are told apart by sample id, which is random.
    """
    model = session.get(Checkpoint, run.reward_model_id) if run.reward_model_id else None
    if model is None:
        return Outcomes(hits=0, misses=0)
    label = usable.usable_labels(run.id).where(Label.created_at > max(since, model.created_at)).subquery()
    chosen, other, member = aliased(SampleScore), aliased(SampleScore), aliased(ComparisonSample)
    ahead = or_(other.score > chosen.score, (other.score == chosen.score) & (other.sample_id > chosen.sample_id))
    rank = (
        select(label.c.id, func.count().filter(ahead).label("better"), func.count().label("scored"))
        .select_from(label)
        .join(chosen, (chosen.sample_id == label.c.chosen_sample_id) & (chosen.reward_model_id == model.id))
        .join(member, member.comparison_id == label.c.comparison_id)
        .join(other, (other.sample_id == member.sample_id) & (other.reward_model_id == model.id))
        .where(chosen.created_at < label.c.created_at, ~_seen(model, label.c.comparison_id))
        .group_by(label.c.id)
        .subquery()
    )
    upper = func.count().filter(rank.c.better * 2 < rank.c.scored)
    hits, every = session.execute(select(upper, func.count()).select_from(rank)).one()
    return Outcomes(hits=hits, misses=every - hits)


def update_figures(
    session: Session, run: Run, names: tuple[str, ...], *, newest: int, since: datetime
) -> list[Mapping[str, float]]:
    """Metrics of the newest updates of the run's present course, oldest first; only updates that have all of them."""
    later = (Metric.step <= run.episodes, Metric.recorded_at > since)
    return _rows(session, run.id, names, newest, later, backwards=True)[::-1]


def first_figures(session: Session, run_id: UUID, names: tuple[str, ...], *, updates: int) -> list[Mapping[str, float]]:
    """Metrics of the first updates."""
    return _rows(session, run_id, names, updates, (), backwards=False)


def attempt(session: Session, checkpoint: Checkpoint, since: datetime) -> int:
    """Which of its kind it is since then, from 1; those made before count as the first."""
    same = (Checkpoint.run_id == checkpoint.run_id, Checkpoint.kind == checkpoint.kind, Checkpoint.created_at > since)
    found = select(func.count()).select_from(Checkpoint).where(*same, Checkpoint.number <= checkpoint.number)
    return max(1, session.scalar(found) or 0)


def _shows(policy_id: UUID) -> ColumnElement[bool]:
    """Condition on `Comparison`: a sample of this policy stands in it."""
    member, shown = aliased(ComparisonSample), aliased(Sample)
    return (
        select(member.sample_id)
        .join(shown, shown.id == member.sample_id)
        .where(member.comparison_id == Comparison.id, shown.policy_id == policy_id)
        .exists()
    )


def _seen(model: Checkpoint, comparison_id: ColumnElement[UUID]) -> ColumnElement[bool]:
    fitted, asked = aliased(Comparison), aliased(Comparison)
    return (
        select(LabelSetItem.label_id)
        .join(Label, Label.id == LabelSetItem.label_id)
        .join(fitted, fitted.id == Label.comparison_id)
        .join(asked, asked.prompt_id == fitted.prompt_id)
        .where(LabelSetItem.label_set_id == model.label_set_id, asked.id == comparison_id)
        .exists()
    )


def _rows(
    session: Session,
    run_id: UUID,
    names: tuple[str, ...],
    updates: int,
    conditions: tuple[ColumnElement[bool], ...],
    *,
    backwards: bool,
) -> list[Mapping[str, float]]:
    order = Metric.step.desc() if backwards else Metric.step
    of_first = (Metric.run_id == run_id, Metric.name == names[0])
    steps = session.scalars(select(Metric.step).where(*of_first, *conditions).order_by(order).limit(updates)).all()
    found: dict[int, dict[str, float]] = {step: {} for step in steps}
    of_all = (Metric.run_id == run_id, Metric.name.in_(names), Metric.step.in_(steps))
    for step, name, value in session.execute(select(Metric.step, Metric.name, Metric.value).where(*of_all)):
        found[step][name] = value
    return [row for row in found.values() if len(row) == len(names)]
