"""What a model card says of a checkpoint: how it was made, from whose labels, how good it is; read from the tables."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import guidelines
from app.errors import NotFoundError
from app.models import Checkpoint, CheckpointKind, Evaluation, Label, LabelSet, LabelSetItem, Run


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
    evaluations: tuple[dict[str, Any], ...]
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
        evaluations=_evaluations(session, checkpoint.id),
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


def _evaluations(session: Session, checkpoint_id: UUID) -> tuple[dict[str, Any], ...]:
    rows = session.scalars(
        select(Evaluation).where(Evaluation.policy_id == checkpoint_id).order_by(Evaluation.created_at)
    )
    return tuple({"judge": one.judge, "samples": one.samples, **one.result} for one in rows)
