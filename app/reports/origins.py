"""From a checkpoint back to the clicks, the labels behind it, and who gave them; from a labeler to the checkpoints."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Account, Checkpoint, CheckpointKind, Comparison, Label, LabelSetItem, Prompt, Sample

LISTED = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOrigin:
    """One label that a reward model was fitted on."""

    id: UUID
    labeler: str
    at: datetime
    verdict: str
    prompt: str
    chosen: str | None
    """The chosen text; None of a tie or of none."""
    written_by: str
    """The policy that was serving."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """Labels of one label set: how many each labeler gave, and the newest of them."""

    by_labeler: tuple[tuple[str, int], ...]
    newest: tuple[LabelOrigin, ...]


def origins(session: Session, label_set_id: UUID) -> Origins:
    """Who gave the labels of a set, and the newest of them in full."""
    of_set = LabelSetItem.label_set_id == label_set_id
    members = select(Account.name, func.count()).join(Label, Label.labeler_id == Account.id)
    counted = members.join(LabelSetItem, LabelSetItem.label_id == Label.id).where(of_set).group_by(Account.id)
    rows = session.execute(
        select(Label, Account.name, Prompt.text, Sample.text, Checkpoint.kind, Checkpoint.number)
        .join(LabelSetItem, LabelSetItem.label_id == Label.id)
        .join(Account, Account.id == Label.labeler_id)
        .join(Comparison, Comparison.id == Label.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(Checkpoint, Checkpoint.id == Comparison.policy_id)
        .outerjoin(Sample, Sample.id == Label.chosen_sample_id)
        .where(of_set)
        .order_by(Label.created_at.desc(), Label.id)
        .limit(LISTED)
    )
    newest = tuple(
        LabelOrigin(
            id=label.id,
            labeler=name,
            at=label.created_at,
            verdict=label.verdict,
            prompt=prompt,
            chosen=chosen,
            written_by="reference" if kind == "reference" else f"{kind} {number}",
        )
        for label, name, prompt, chosen, kind, number in rows
    )
    by_labeler = session.execute(counted.order_by(func.count().desc(), Account.name)).all()
    return Origins(by_labeler=tuple((name, count) for name, count in by_labeler), newest=newest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """A reward model that learned from somebody."""

    id: UUID
    number: int
    theirs: int
    """Labels of this person among those it was fitted on."""
    labels: int
    policies: tuple[tuple[UUID, int], ...]
    """Ids and numbers of the policies whose last update it scored."""


def taught(session: Session, run_id: UUID, labeler_id: UUID) -> tuple[Taught, ...]:
    """The reward models of a run that learned from a labeler, newest first."""
    given = func.count().filter(Label.labeler_id == labeler_id)
    models = session.execute(
        select(Checkpoint.id, Checkpoint.number, given, func.count())
        .join(LabelSetItem, LabelSetItem.label_set_id == Checkpoint.label_set_id)
        .join(Label, Label.id == LabelSetItem.label_id)
        .where(Checkpoint.run_id == run_id, Checkpoint.kind == CheckpointKind.REWARD_MODEL)
        .group_by(Checkpoint.id)
        .having(given > 0)
        .order_by(Checkpoint.number.desc())
    ).all()
    policies: dict[UUID | None, list[tuple[UUID, int]]] = defaultdict(list)
    published = (Checkpoint.run_id == run_id, Checkpoint.kind == CheckpointKind.POLICY)
    rows = select(Checkpoint.reward_model_id, Checkpoint.id, Checkpoint.number).where(*published)
    for model, id_, number in session.execute(rows.order_by(Checkpoint.number)):
        policies[model].append((id_, number))
    return tuple(
        Taught(id=id_, number=number, theirs=theirs, labels=labels, policies=tuple(policies[id_]))
        for id_, number, theirs, labels in models
    )
