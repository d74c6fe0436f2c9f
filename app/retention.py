"""Which checkpoint files are wanted, and which may go. Rows stay for ever, so that lineage never breaks.

Wanted are the files of what a run names (reference, serving and candidate policy, reward model, training state and the
one before it), of a policy that wrote a labeled sample or was evaluated, and of the reward models of such policies.
"""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, or_, select, text, update
from sqlalchemy.orm import Session, aliased

from app.errors import ConflictError
from app.models import Checkpoint, CheckpointKind, ComparisonSample, Evaluation, Label, Run, Sample

WITH_FILES = (CheckpointKind.POLICY, CheckpointKind.REWARD_MODEL, CheckpointKind.TRAINING_STATE)
"""Kinds that lie in the checkpoint store."""
BACKUP_LOCK = 5_719_040_119
"""Advisory lock that a backup holds for as long as it copies: no file that its snapshot names may go meanwhile."""

_Policy = aliased(Checkpoint)
_State = aliased(Checkpoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwanted:
    """A checkpoint whose files may go."""

    id: UUID
    run: str
    kind: CheckpointKind
    number: int
    digest: str

    def __str__(self) -> str:
        return f"{self.kind.replace('_', ' ')} {self.number} of {self.run}"


def unwanted(session: Session) -> list[Unwanted]:
    """Checkpoints whose files nobody wants, oldest first; files that a wanted checkpoint shares are not among them."""
    wanted = select(Checkpoint.digest).where(_is_wanted())
    found = session.execute(
        select(Checkpoint, Run.name)
        .join(Run, Run.id == Checkpoint.run_id)
        .where(Checkpoint.removed_at.is_(None), ~_is_wanted(), Checkpoint.digest.not_in(wanted))
        .order_by(Checkpoint.created_at, Checkpoint.number)
    )
    return [
        Unwanted(id=one.id, run=name, kind=one.kind, number=one.number, digest=one.digest) for one, name in found.all()
    ]


def let_go(session: Session, chosen: Collection[UUID]) -> list[Unwanted]:
    """Mark those of `chosen` removed that are still unwanted. Commit before their files go: a row without a file lies.

    No run changes what it names until the transaction ends.
    Raises: ConflictError while a backup is made.
    """
    if not may_remove(session):
        raise ConflictError("A backup is being made, which may need these files: try again when it is done.")
    session.execute(select(Run.id).order_by(Run.id).with_for_update())
    going = [one for one in unwanted(session) if one.id in chosen]
    ids = [one.id for one in going]
    session.execute(update(Checkpoint).where(Checkpoint.id.in_(ids)).values(removed_at=func.clock_timestamp()))
    return going


def may_remove(session: Session) -> bool:
    """Whether no backup is being made. If so, one that begins now waits until the transaction ends."""
    return bool(session.scalar(text("select pg_try_advisory_xact_lock(:key)"), {"key": BACKUP_LOCK}))


def wanted_digests(session: Session) -> set[str]:
    """Digests whose files must be in the checkpoint store: see the head of this file."""
    there = (Checkpoint.kind.in_(WITH_FILES), Checkpoint.removed_at.is_(None))
    return set(session.scalars(select(Checkpoint.digest).where(_is_wanted(), *there)))


def known_digests(session: Session) -> set[str]:
    """Digests whose files some checkpoint is said to have."""
    return set(session.scalars(select(Checkpoint.digest).where(Checkpoint.removed_at.is_(None))))


def require_files(checkpoint: Checkpoint) -> None:
    """Raises: ConflictError if its files were removed."""
    if checkpoint.removed_at is not None:
        raise ConflictError(
            f"The files of {checkpoint.kind.replace('_', ' ')} {checkpoint.number} were removed on "
            f"{checkpoint.removed_at:%d %B %Y}: choose another checkpoint."
        )


def _is_wanted() -> ColumnElement[bool]:
    judges = select(_Policy.reward_model_id).where(_is_named(_Policy), _Policy.reward_model_id.is_not(None))
    return or_(_is_named(Checkpoint), Checkpoint.id.in_(judges))


def _is_named(which: type[Checkpoint]) -> ColumnElement[bool]:
    labeled = (
        select(Label.id)
        .join(ComparisonSample, ComparisonSample.comparison_id == Label.comparison_id)
        .join(Sample, Sample.id == ComparisonSample.sample_id)
        .where(Sample.policy_id == which.id)
    )
    evaluated = select(Evaluation.id).where(Evaluation.policy_id == which.id)
    return or_(which.id.in_(_named_by_runs()), labeled.exists(), evaluated.exists())


def _named_by_runs() -> Select[tuple[UUID | None]]:
    columns = (Run.reference_id, Run.serving_id, Run.candidate_id, Run.reward_model_id, Run.training_state_id)
    before = select(_State.parent_id).join(Run, Run.training_state_id == _State.id)
    named = [select(column.label("named")).where(column.is_not(None)) for column in columns]
    every = named[0].union(*named[1:], before.where(_State.parent_id.is_not(None))).subquery()
    return select(every.c[0])
