"""What every job reads: the policy's files, the reward model's, a seed of its own."""

import hashlib
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import retention, runs
from app.errors import ConflictError
from app.models import Checkpoint, CheckpointKind, Run
from workers.fencing import Claim
from workers.plans import PolicyFiles, RewardFiles


def policy_files(session: Session, run: Run, checkpoint_id: UUID | None) -> PolicyFiles:
    """Files of a policy or of the reference."""
    checkpoint = session.get(Checkpoint, checkpoint_id) if checkpoint_id else None
    reference = session.get(Checkpoint, run.reference_id) if run.reference_id else None
    if checkpoint is None or reference is None:
        raise ConflictError(f"Run {run.name} has no such policy yet; its base model is still being loaded.")
    retention.require_files(checkpoint)
    return PolicyFiles(
        checkpoint_id=checkpoint.id,
        base_model=run.base_model,
        reference_digest=reference.digest,
        digest=None if checkpoint.kind == CheckpointKind.REFERENCE else checkpoint.digest,
    )


def reward_files(session: Session, run: Run) -> RewardFiles | None:
    """Files of the newest reward model, if there is one."""
    checkpoint = session.get(Checkpoint, run.reward_model_id) if run.reward_model_id else None
    if checkpoint is None:
        return None
    heads = runs.hparams_of(run).reward.heads
    return RewardFiles(checkpoint_id=checkpoint.id, digest=checkpoint.digest, heads=heads)


def next_number(session: Session, run_id: UUID, kind: CheckpointKind) -> int:
    """The number of a run's next checkpoint of this kind; counts from 0."""
    last = session.scalar(
        select(func.max(Checkpoint.number)).where(Checkpoint.run_id == run_id, Checkpoint.kind == kind)
    )
    return 0 if last is None else last + 1


def job_seed(run_seed: int, claim: Claim) -> int:
    """A seed in [0, 2^62) for a job: the same for each attempt, different for each step."""
    key = f"{run_seed}:{claim.run_id}:{claim.kind}:{claim.step}"
    return int(hashlib.sha256(key.encode()).hexdigest()[:15], 16)
