"""Checkpoints and where they come from: from any policy back to the labels that made it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, select
from sqlalchemy.orm import Session, aliased

from app.errors import NotFoundError
from app.models import Checkpoint, CheckpointKind, LabelSet, Metric, Run, Standing

LISTED = 200

_Parent = aliased(Checkpoint)
_RewardModel = aliased(Checkpoint)
_Fitted = aliased(LabelSet)
_FittedJudge = aliased(LabelSet)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointReport:
    """One checkpoint and its makers."""

    id: UUID
    run_id: UUID
    kind: CheckpointKind
    number: int
    digest: str
    created_at: datetime
    episodes: int
    kl: float | None
    """Nats per response from the reference, of the update that made it; None for reward models."""
    kl_coef: float | None
    parent_id: UUID | None
    parent_kind: CheckpointKind | None
    parent_number: int | None
    reward_model_id: UUID | None
    reward_model_number: int | None
    label_set_id: UUID | None
    """Its own label set, or that of its reward model."""
    labels: int | None
    """Size of that label set."""
    removed_at: datetime | None
    """Its files are gone since then."""
    standing: Standing | None
    """How far a policy got."""
    roles: tuple[str, ...]
    """What the run uses it for now: reference, serving, candidate, training, reward model."""
    report: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """A checkpoint and the chain of those it went on from, ending with the reference."""

    checkpoint: CheckpointReport
    ancestors: tuple[CheckpointReport, ...]


def checkpoints(
    session: Session, run_id: UUID, *, kinds: tuple[CheckpointKind, ...] = tuple(CheckpointKind), limit: int = LISTED
) -> tuple[CheckpointReport, ...]:
    """The newest `limit` checkpoints of a run, newest first."""
    rows = session.execute(
        _select()
        .where(Checkpoint.run_id == run_id, Checkpoint.kind.in_(kinds))
        .order_by(Checkpoint.created_at.desc(), Checkpoint.number.desc())
        .limit(limit)
    )
    return tuple(_report(row) for row in rows)


def policy_named(session: Session, run: Run, name: str) -> UUID:
    """A policy by its number, or the reference by that word. Raises: NotFoundError naming those there are."""
    numbers = {"reference": run.reference_id} | {
        str(number): id_
        for id_, number in session.execute(
            select(Checkpoint.id, Checkpoint.number)
            .where(Checkpoint.run_id == run.id, Checkpoint.kind == CheckpointKind.POLICY)
            .order_by(Checkpoint.number)
        )
    }
    found = numbers.get(name)
    if found is None:
        raise NotFoundError(f"There is no policy {name!r}. Choose one of: {', '.join(numbers)}.")
    return found


def lineage(session: Session, checkpoint_id: UUID) -> Lineage:
    """Where a checkpoint comes from. Raises: NotFoundError."""
    chain = select(Checkpoint.id, Checkpoint.parent_id).where(Checkpoint.id == checkpoint_id).cte(recursive=True)
    chain = chain.union(select(Checkpoint.id, Checkpoint.parent_id).join(chain, Checkpoint.id == chain.c.parent_id))
    rows = session.execute(_select().where(Checkpoint.id.in_(select(chain.c.id))))
    found = {report.id: report for report in map(_report, rows)}
    if checkpoint_id not in found:
        raise NotFoundError("There is no such checkpoint.")
    line = [found[checkpoint_id]]
    while line[-1].parent_id is not None:
        line.append(found[line[-1].parent_id])
    return Lineage(checkpoint=line[0], ancestors=tuple(line[1:]))


def _select() -> Select[*tuple[Any, ...]]:
    return (
        select(
            Checkpoint,
            Run,
            _kl_then().label("kl"),
            _Parent.kind.label("parent_kind"),
            _Parent.number.label("parent_number"),
            _RewardModel.number.label("reward_model_number"),
            _Fitted,
            _FittedJudge,
        )
        .join(Run, Run.id == Checkpoint.run_id)
        .outerjoin(_Parent, _Parent.id == Checkpoint.parent_id)
        .outerjoin(_RewardModel, _RewardModel.id == Checkpoint.reward_model_id)
        .outerjoin(_Fitted, _Fitted.id == Checkpoint.label_set_id)
        .outerjoin(_FittedJudge, _FittedJudge.id == _RewardModel.label_set_id)
    )


def _kl_then() -> ColumnElement[float | None]:
    """KL as recorded by the last update behind the checkpoint."""
    return (
        select(Metric.value)
        .where(
            Metric.run_id == Checkpoint.run_id,
            Metric.name == "objective/kl",
            Metric.step <= Checkpoint.episodes,
            Checkpoint.kind.in_((CheckpointKind.POLICY, CheckpointKind.TRAINING_STATE)),
        )
        .order_by(Metric.step.desc())
        .limit(1)
        .correlate(Checkpoint)
        .scalar_subquery()
    )


def _report(row: Row[*tuple[Any, ...]]) -> CheckpointReport:
    checkpoint, run, kl, parent_kind, parent_number, reward_model_number, own_set, judge_set = row
    label_set = own_set or judge_set
    return CheckpointReport(
        id=checkpoint.id,
        run_id=checkpoint.run_id,
        kind=checkpoint.kind,
        number=checkpoint.number,
        digest=checkpoint.digest,
        created_at=checkpoint.created_at,
        episodes=checkpoint.episodes,
        kl=checkpoint.report.get("kl", kl),
        kl_coef=checkpoint.kl_coef,
        parent_id=checkpoint.parent_id,
        parent_kind=parent_kind,
        parent_number=parent_number,
        reward_model_id=checkpoint.reward_model_id,
        reward_model_number=reward_model_number,
        label_set_id=label_set.id if label_set else None,
        labels=label_set.size if label_set else None,
        removed_at=checkpoint.removed_at,
        standing=checkpoint.standing,
        roles=_roles(run, checkpoint.id),
        report=checkpoint.report,
    )


def _roles(run: Run, checkpoint_id: UUID) -> tuple[str, ...]:
    uses = {
        "reference": run.reference_id,
        "serving": run.serving_id,
        "candidate": run.candidate_id,
        "training": run.training_state_id,
        "reward model": run.reward_model_id,
    }
    return tuple(name for name, used in uses.items() if used == checkpoint_id)
