"""Blind head-to-heads: two writers on the same test prompts, several people each.

They are mixed into the labeling queue or answered in a session of their own (`app.contest_sessions`). Labelers are
shown samples in an order drawn for each of them, and nothing that says whose they are.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import audit, queueing, retention
from app.errors import ConflictError, InvalidError, NotFoundError
from app.hparams import RunHParams
from app.kinds import JobKind, Split
from app.models import Checkpoint, CheckpointKind, Contest, Prompt, Run

MOST_PROMPTS = 1_024
MOST_BEST_OF = 256

Kind = Literal["policy", "texts", "lead"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A writer."""

    kind: Kind
    name: str
    """What people read."""
    checkpoint: str | None = None
    """Id of a policy or of a reference, which may be another run's, such as one that starts from a supervised model."""
    best_of: int = 1
    """The best of so many samples by the run's reward model; 1: the first."""


def create(
    session: Session,
    run_id: UUID,
    *,
    left: str,
    right: str,
    prompts: int,
    per_side: int,
    labelers: int,
    seed: int,
    actor_id: UUID | None,
    own_session: bool = False,
) -> Contest:
    """Begin a contest: a job writes the samples, then people are asked.

    Args:
        left, right: `reference`, `policy 3`, the id of any policy or reference, each also with `best of 16`; `texts`
            (the references of the prompts), `lead-3` (the first three sentences of the prompt).
        own_session: keep its comparisons out of the labeling queue, for a page of their own.
    Raises: NotFoundError; InvalidError naming what is wrong; ConflictError before the reference is there.
    """
    run = session.get(Run, run_id)
    if run is None:
        raise NotFoundError("There is no such run.")
    if run.reference_id is None:
        raise ConflictError("The base model of this run is still being loaded: try again in a minute.")
    sides = [side_of(session, run, one) for one in (left, right)]
    if sides[0] == sides[1]:
        raise InvalidError("Both sides are the same writer: choose two.")
    _check(session, run, sides, prompts=prompts, per_side=per_side, labelers=labelers)
    made = Contest(
        run_id=run.id,
        created_by_id=actor_id,
        left=asdict(sides[0]),
        right=asdict(sides[1]),
        per_side=per_side,
        prompts=prompts,
        labelers=labelers,
        own_session=own_session,
        seed=seed,
    )
    session.add(made)
    session.flush()
    queueing.queue(session, run.id, JobKind.CONTEST, {"contest": str(made.id)})
    told = {"contest": str(made.id), "left": sides[0].name, "right": sides[1].name, "prompts": prompts}
    audit.record(session, actor_id, "contest.created", run_id=run.id, **told)
    return made


def get(session: Session, contest_id: UUID) -> Contest:
    """The contest. Raises: NotFoundError."""
    found = session.get(Contest, contest_id)
    if found is None:
        raise NotFoundError("There is no such contest.")
    return found


def of_run(session: Session, run_id: UUID) -> Sequence[Contest]:
    """Contests of a run, newest first."""
    return session.scalars(select(Contest).where(Contest.run_id == run_id).order_by(Contest.created_at.desc())).all()


def side_of(session: Session, run: Run, words: str) -> Side:
    """A writer by its name. Raises: InvalidError saying which there are."""
    words = words.strip()
    if words == "texts":
        return Side(kind="texts", name="reference texts")
    if words == "lead-3":
        return Side(kind="lead", name="lead-3")
    matched = re.fullmatch(r"(.+?)(?: best of (\d+))?", words)
    name, count = (matched[1], int(matched[2] or 1)) if matched else (words, 1)
    if not 1 <= count <= MOST_BEST_OF:
        raise InvalidError(f"Best of {count} is out of reach: choose 1 to {MOST_BEST_OF}.")
    policy = _policy(session, run, name)
    retention.require_files(policy)
    told = _told(session, run, policy) + (f", best of {count}" if count > 1 else "")
    return Side(kind="policy", name=told, checkpoint=str(policy.id), best_of=count)


def parsed(stored: Mapping[str, Any]) -> Side:
    """A side as its contest's row has it."""
    return Side(**stored)


def _policy(session: Session, run: Run, name: str) -> Checkpoint:
    kinds = (CheckpointKind.POLICY, CheckpointKind.REFERENCE)
    if name == "reference":
        return session.get_one(Checkpoint, run.reference_id)
    numbered = re.fullmatch(r"policy (\d+)", name)
    if numbered:
        of_run = (Checkpoint.run_id == run.id, Checkpoint.kind == CheckpointKind.POLICY)
        found = session.scalar(select(Checkpoint).where(*of_run, Checkpoint.number == int(numbered[1])))
    else:
        try:
            found = session.get(Checkpoint, UUID(name))
        except ValueError:
            found = None
    if found is None or found.kind not in kinds:
        raise InvalidError(
            f"{name!r} is no writer. Choose reference, policy and its number, the id of a policy, texts or lead-3; "
            "policies also with best of and a number."
        )
    return found


def _told(session: Session, run: Run, policy: Checkpoint) -> str:
    if policy.run_id == run.id:
        return policy.name
    return f"{policy.name} of {session.get_one(Run, policy.run_id).name}"


def _check(session: Session, run: Run, sides: Sequence[Side], *, prompts: int, per_side: int, labelers: int) -> None:
    if per_side not in (1, 2) or not 1 <= labelers <= 9:
        raise InvalidError("Compare 1 or 2 samples of each side, and ask 1 to 9 people about each comparison.")
    if any(side.best_of > 1 for side in sides) and run.reward_model_id is None:
        raise InvalidError("The best of several is chosen by the reward model, and this run has none yet.")
    if per_side == 2 and any(side.kind != "policy" for side in sides):
        raise InvalidError("Texts and lead-3 are one text for each prompt: compare 1 sample of each side.")
    needs_texts = any(side.kind == "texts" for side in sides)
    prompt_set = RunHParams.model_validate(run.hparams).prompt_set
    usable = (Prompt.prompt_set == prompt_set, Prompt.split == Split.TEST)
    texts = (Prompt.reference.is_not(None),) if needs_texts else ()
    there = session.scalar(select(func.count()).select_from(Prompt).where(*usable, *texts)) or 0
    if not 1 <= prompts <= min(there, MOST_PROMPTS):
        has = "test prompts with a reference text" if needs_texts else "test prompts"
        raise InvalidError(f"Choose 1 to {min(there, MOST_PROMPTS)} prompts: {prompt_set!r} has {there} {has}.")
