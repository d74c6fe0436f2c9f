"""What a model card says of a checkpoint: how it was made, from whose labels, how good it is; read from the tables."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app import guidelines
from app.errors import NotFoundError
from app.models import Checkpoint, CheckpointKind, Contest, Evaluation, Label, LabelSet, LabelSetItem, Run
from app.quality import Mean
from app.reports.contests import contest_result
from app.reports.run_quality import AgreementReport, agreement
from app.reports.summaries import JUDGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """What people said blindly of a policy beside another writer."""

    other: str
    comparisons: int
    """With a vote."""
    win_rate: Mean
    """Of the policy; a tie is half a win."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The facts of a card."""

    run: str
    run_id: UUID
    base_model: str
    hparams: dict[str, Any]
    kind: CheckpointKind
    number: int
    episodes: int
    report: dict[str, Any]
    kl: float | None
    """Nats per response from the reference."""
    kl_coef: float | None
    labels: int | None
    """That its reward model, or itself, was fitted on."""
    labelers: int | None
    reward_model: int | None
    """Number of the reward model that trained a policy."""
    accuracy: dict[str, float] | None
    """Of that reward model on labels it did not see, with its 95 % interval."""
    agreement: AgreementReport | None
    """Of labelers with each other, where several answered the same."""
    met: tuple[Met, ...]
    """Blind head-to-heads of a policy, oldest first."""
    evaluations: tuple[dict[str, Any], ...]
    summaries: tuple[dict[str, Any], ...]
    """Rows of the newest table of summaries of the policy, by ROUGE and copying."""
    guideline: str | None
    """The newest version."""


def card(session: Session, checkpoint_id: UUID) -> Card:
    """The facts. Raises: NotFoundError without such a checkpoint."""
    checkpoint = session.get(Checkpoint, checkpoint_id)
    if checkpoint is None:
        raise NotFoundError("There is no such checkpoint.")
    run = session.get_one(Run, checkpoint.run_id)
    judge = session.get(Checkpoint, checkpoint.reward_model_id) if checkpoint.reward_model_id else checkpoint
    assert judge is not None, "a reward model that a policy names is never removed"
    newest = guidelines.newest(session, run.id)
    return Card(
        run=run.name,
        run_id=run.id,
        base_model=run.base_model,
        hparams=run.hparams,
        kind=checkpoint.kind,
        number=checkpoint.number,
        episodes=checkpoint.episodes,
        report=checkpoint.report,
        kl=checkpoint.report.get("kl"),
        kl_coef=checkpoint.kl_coef,
        labels=session.scalar(select(LabelSet.size).where(LabelSet.id == judge.label_set_id)),
        labelers=_labelers(session, judge.label_set_id),
        reward_model=judge.number if judge is not checkpoint else None,
        accuracy=judge.report.get("accuracy_valid") or judge.report.get("accuracy_heldout"),
        agreement=agreement(session, run.id),
        met=_met(session, checkpoint),
        evaluations=_evaluations(session, checkpoint.id),
        summaries=_summaries(session, checkpoint.id),
        guideline=newest.text if newest else None,
    )


def _labelers(session: Session, label_set_id: UUID | None) -> int | None:
    if label_set_id is None:
        return None
    return session.scalar(
        select(func.count(Label.labeler_id.distinct()))
        .join(LabelSetItem, LabelSetItem.label_id == Label.id)
        .where(LabelSetItem.label_set_id == label_set_id)
    )


def _met(session: Session, checkpoint: Checkpoint) -> tuple[Met, ...]:
    """Contests of the policy itself, not of its best of many."""
    sides = [side["checkpoint"].as_string() == str(checkpoint.id) for side in (Contest.left, Contest.right)]
    held = session.scalars(select(Contest).where(or_(*sides)).order_by(Contest.created_at, Contest.id)).all()
    found = []
    for one in held:
        is_left = one.left["checkpoint"] == str(checkpoint.id)
        result = contest_result(session, one.id)
        if (one.left if is_left else one.right)["best_of"] == 1 and result.win_rate is not None:
            rate = result.win_rate if is_left else result.win_rate.turned()
            other = result.right if is_left else result.left
            comparisons = result.wins + result.losses + result.ties
            found.append(Met(other=other, comparisons=comparisons, win_rate=rate))
    return tuple(found)


def _evaluations(session: Session, checkpoint_id: UUID) -> tuple[dict[str, Any], ...]:
    of_policy = (Evaluation.policy_id == checkpoint_id, Evaluation.judge != JUDGE)
    rows = session.scalars(select(Evaluation).where(*of_policy).order_by(Evaluation.created_at))
    return tuple({"judge": one.judge, "samples": one.samples, **one.result} for one in rows)


def _summaries(session: Session, checkpoint_id: UUID) -> tuple[dict[str, Any], ...]:
    of_policy = (Evaluation.policy_id == checkpoint_id, Evaluation.judge == JUDGE)
    newest = session.scalar(select(Evaluation).where(*of_policy).order_by(Evaluation.created_at.desc()).limit(1))
    return () if newest is None else tuple(newest.result["rows"])
