"""What researchers ask about samples: that they are read again, that a policy writes to the fixed prompts."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from app import generation, queueing, retention
from app.errors import InvalidError, NotFoundError
from app.kinds import JobKind
from app.models import Checkpoint, Job

MOST_READ = 256
"""Samples of one job; about a minute of a small model on a CPU."""


def read(session: Session, run_id: UUID, sample_ids: Sequence[UUID]) -> Job:
    """Find the KL of each token of samples, and their scores by the newest reward model.

    Raises: NotFoundError without such a run; InvalidError unless there are 1 to MOST_READ.
    """
    if not 1 <= len(sample_ids) <= MOST_READ:
        raise InvalidError(f"Name 1 to {MOST_READ} samples at a time, not {len(sample_ids)}.")
    return queueing.queue(session, run_id, JobKind.READ_SAMPLES, {"samples": [str(one) for one in sample_ids]})


def write(session: Session, run_id: UUID, policy_id: UUID) -> Job:
    """Let a policy of the run continue its fixed test prompts, as each policy does that serves.

    Raises: NotFoundError without such a policy; ConflictError if its files were removed.
    """
    policy = session.get(Checkpoint, policy_id)
    if policy is None or policy.run_id != run_id or policy.kind not in generation.WRITERS:
        raise NotFoundError("There is no such policy.")
    retention.require_files(policy)
    return queueing.queue(session, run_id, JobKind.SHOWCASE, {"policy": str(policy_id)})
