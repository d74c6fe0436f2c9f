"""A run's policy against its reference on test prompts, from the tables and back into them."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import runs
from app.db import SessionFactory, session_scope
from app.errors import InvalidError, NotFoundError
from app.models import Checkpoint, CheckpointKind, Evaluation, Prompt, Run, Split
from app.rules import Score
from workers.data.common import policy_files
from workers.head_to_head import HeadToHead, head_to_head
from workers.plans import PromptText, SamplePlan
from workers.workshop import Workshop


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to evaluate."""

    run_id: UUID | None
    policy_number: int | None
    judge_name: str
    judge: Score
    samples: int
    seed: int


def evaluate(
    factory: SessionFactory, workshop: Workshop, options: Options, *, progress: Callable[[str], None]
) -> HeadToHead:
    """Sample, judge, keep. Raises: NotFoundError without such a run or policy; InvalidError without test prompts."""
    with session_scope(factory) as session:
        run = _run(session, options.run_id)
        policy = _policy(session, run, options.policy_number)
        pair = [_plan(session, run, run.reference_id, options), _plan(session, run, policy.id, options)]
    report = head_to_head(
        workshop,
        *pair,
        name=policy.name,
        judge_name=options.judge_name,
        judge=options.judge,
        said=progress,
    )
    progress(str(report))  # said before it is kept: a database that went away must not cost minutes of sampling
    with session_scope(factory) as session:
        session.add(
            Evaluation(
                run_id=run.id,
                policy_id=policy.id,
                judge=options.judge_name,
                samples=options.samples,
                result=_stored(report),
            )
        )
    return report


def _run(session: Session, run_id: UUID | None) -> Run:
    if run_id is not None:
        return runs.get(session, run_id)
    newest = next(iter(runs.newest_first(session)), None)
    if newest is None:
        raise NotFoundError("There is no run yet: `prefloop up` makes the first.")
    return newest


def _policy(session: Session, run: Run, number: int | None) -> Checkpoint:
    kind = (Checkpoint.run_id == run.id, Checkpoint.kind == CheckpointKind.POLICY)
    which = Checkpoint.id == run.serving_id if number is None else Checkpoint.number == number
    policy = session.scalar(select(Checkpoint).where(*kind, which))
    if policy is None:
        raise NotFoundError(
            "No policy serves yet beside the reference itself; wait for the first promotion."
            if number is None
            else f"Run {run.name} has no policy {number}."
        )
    return policy


def _plan(session: Session, run: Run, checkpoint_id: UUID | None, options: Options) -> SamplePlan:
    hparams = runs.hparams_of(run)
    test = (Prompt.prompt_set == hparams.prompt_set, Prompt.split == Split.TEST)
    prompts = session.scalars(select(Prompt).where(*test).order_by(Prompt.digest)).all()
    if not prompts:
        raise InvalidError(f"The prompt set {hparams.prompt_set} has no prompts in its test split: import more.")
    taken = [prompts[i % len(prompts)] for i in range(options.samples)]
    return SamplePlan(
        policy=policy_files(session, run, checkpoint_id),
        reward=None,
        task=hparams.task,
        prompts=tuple(PromptText(id=prompt.id, text=prompt.text) for prompt in taken),
        purposes=(),
        seed=options.seed,
    )


def _stored(report: HeadToHead) -> dict[str, float]:
    means = {"reference": report.reference_mean, "policy": report.policy_mean, "kl": report.kl}
    flat = {
        f"{name}_{part}": getattr(mean, part) for name, mean in means.items() for part in ("mean", "low", "high", "n")
    }
    return flat | {"wins": report.wins, "losses": report.losses}
