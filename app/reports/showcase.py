"""What the policies write now, beside the reference, on the same test prompts."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from app.models import Checkpoint, CheckpointKind, Prompt, Sample, SamplePurpose
from app.reports.summary import CheckpointRef

POLICIES = 3
PROMPTS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowcaseText:
    """What one policy wrote."""

    text: str
    valid: bool
    """A terminator was found in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowcasePrompt:
    """A test prompt and its continuations by policy id; a policy that wrote none is missing."""

    id: UUID
    text: str
    samples: Mapping[UUID, ShowcaseText]


@dataclass(frozen=True, slots=True, kw_only=True)
class Showcase:
    """Columns and rows of the table of samples."""

    policies: tuple[CheckpointRef, ...]
    """Newest first, the reference last."""
    prompts: tuple[ShowcasePrompt, ...]


def showcase(session: Session, run_id: UUID, *, policies: int = POLICIES, prompts: int = PROMPTS) -> Showcase:
    """The newest `policies` that have written, and the reference, on at most `prompts` prompts in a stable order."""
    chosen = _writers(session, run_id, policies)
    newest = (
        select(Sample.policy_id, Sample.prompt_id, Sample.text, Sample.valid, Prompt.text.label("prompt"))
        .ext(distinct_on(Sample.prompt_id, Sample.policy_id))
        .join(Prompt, Prompt.id == Sample.prompt_id)
        .where(
            Sample.run_id == run_id,
            Sample.purpose == SamplePurpose.SHOWCASE,
            Sample.policy_id.in_([policy.id for policy in chosen]),
        )
        .order_by(Sample.prompt_id, Sample.policy_id, Sample.created_at.desc())
    )
    found: dict[UUID, tuple[str, dict[UUID, ShowcaseText]]] = {}
    for policy_id, prompt_id, text, valid, prompt in session.execute(newest):
        _, samples = found.setdefault(prompt_id, (prompt, {}))
        samples[policy_id] = ShowcaseText(text=text, valid=valid)
    rows = [ShowcasePrompt(id=id_, text=prompt, samples=samples) for id_, (prompt, samples) in found.items()]
    rows.sort(key=lambda row: (-len(row.samples), row.id))  # prompts that all have continued stand first
    return Showcase(policies=chosen, prompts=tuple(rows[:prompts]))


def _writers(session: Session, run_id: UUID, policies: int) -> tuple[CheckpointRef, ...]:
    wrote = (
        select(Sample.id).where(Sample.policy_id == Checkpoint.id, Sample.purpose == SamplePurpose.SHOWCASE).exists()
    )
    by_kind = {
        kind: session.execute(
            select(Checkpoint.id, Checkpoint.kind, Checkpoint.number, Checkpoint.created_at)
            .where(Checkpoint.run_id == run_id, Checkpoint.kind == kind, wrote)
            .order_by(Checkpoint.created_at.desc(), Checkpoint.number.desc())
            .limit(limit)
        ).all()
        for kind, limit in ((CheckpointKind.POLICY, policies), (CheckpointKind.REFERENCE, 1))
    }
    return tuple(
        CheckpointRef(id=id_, kind=kind, number=number, created_at=created_at)
        for rows in by_kind.values()
        for id_, kind, number, created_at in rows
    )
