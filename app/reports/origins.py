"""From a checkpoint back to the clicks: the labels behind a reward model or a policy, and who gave them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Account, Checkpoint, Comparison, Label, LabelSetItem, Prompt, Sample

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
