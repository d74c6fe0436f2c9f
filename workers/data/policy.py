"""The train_policy job: what PPO goes on from, and what it leaves behind."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import andon, audit, retention, runs
from app.errors import ConflictError
from app.jobs import wake_run
from app.models import Checkpoint, CheckpointKind, Phase, Prompt, Run, Split, Standing
from workers import fencing, tracking
from workers.data.common import next_number, policy_files, reward_files
from workers.fencing import Claim
from workers.plans import PPOPlan, PPOResult

RECHECKED_STATES = 5
"""Outdated states named again each time, for those that a killed job left on the disk."""


def ppo_plan(session: Session, claim: Claim) -> PPOPlan:
    """Training state, reward model and prompts; ConflictError when there is no reward model."""
    run = runs.get(session, claim.run_id)
    hparams = runs.hparams_of(run)
    reward = reward_files(session, run)
    if reward is None:
        raise ConflictError(f"Run {run.name} has no reward model yet.")
    start = session.get(Checkpoint, run.training_state_id) if run.training_state_id else None
    from_policy = start is not None and start.kind == CheckpointKind.POLICY
    if start is not None:
        retention.require_files(start)
    in_train = (Prompt.prompt_set == hparams.prompt_set, Prompt.split == Split.TRAIN)
    return PPOPlan(
        reference=policy_files(session, run, run.reference_id),
        state_digest=start.digest if start and not from_policy else None,
        policy_digest=start.digest if start and from_policy else None,
        kl_coef=start.kl_coef if start and from_policy else None,
        reward=reward,
        hparams=hparams,
        queries=tuple(session.scalars(select(Prompt.text).where(*in_train).order_by(Prompt.digest))),
        update=run.episodes // hparams.ppo.batch,
        updates=int(claim.args["updates"]),
        published_episodes=_published(session, run),
        reward_episodes=session.get_one(Checkpoint, reward.checkpoint_id).episodes,
    )


def may_go_on(session: Session, claim: Claim) -> bool:
    """Asked between updates: the run is neither paused nor stopped, and the andon cord hangs loose."""
    run = runs.get(session, claim.run_id)
    return run.phase == Phase.RUNNING and andon.pulled(session, run.id) is None


def record_ppo(session: Session, claim: Claim, plan: PPOPlan, result: PPOResult) -> None:
    """The new training state, a candidate if one was published, the metrics; ends the job."""
    run = session.scalars(select(Run).where(Run.id == claim.run_id).with_for_update()).one()
    batch = plan.hparams.ppo.batch
    episodes = result.update * batch
    state = _checkpoint(session, run, plan, result, CheckpointKind.TRAINING_STATE, result.state_digest)
    run.training_state_id = state.id
    run.episodes = episodes
    if result.policy_digest is not None:
        policy = _checkpoint(session, run, plan, result, CheckpointKind.POLICY, result.policy_digest)
        _propose(run, policy, strict=plan.hparams.promotion.strict)
    for back, stats in enumerate(reversed(result.stats)):
        tracking.record(session, run.id, episodes - back * batch, stats)
    fencing.finish(session, claim, {"updates": len(result.stats), "episodes": episodes})
    wake_run(session, run.id)


def _propose(run: Run, policy: Checkpoint, *, strict: bool) -> None:
    """A new candidate takes the place of one that nobody has judged, but not of one that people are judging."""
    if strict and run.candidate_id is not None:
        policy.standing = Standing.PASSED_OVER
        return
    policy.standing, run.candidate_id = Standing.CANDIDATE, policy.id


def record_guard(session: Session, claim: Claim, reason: str) -> None:
    """A guard stopped PPO: the cord is pulled by nobody, and its release starts the next job. Ends this one."""
    fencing.finish(session, claim, {"updates": 0, "stopped": reason})  # an overtaken job pulls nothing
    andon.pull(session, claim.run_id, None, reason)


def state_before(session: Session, run_id: UUID) -> str | None:
    """Digest of the training state before the run's; None: PPO began from the reference then."""
    parent = _before(session, runs.get(session, run_id))
    return None if parent is None else parent.digest


def go_back(session: Session, claim: Claim, reason: str) -> None:
    """The run's training state is lost: the one before it takes its place, and its updates are made again."""
    run = session.scalars(select(Run).where(Run.id == claim.run_id).with_for_update()).one()
    parent = _before(session, run)
    run.training_state_id = None if parent is None else parent.id
    run.episodes = 0 if parent is None else parent.episodes
    audit.record(session, None, "training_state.lost", run_id=run.id, reason=reason, episodes=run.episodes)
    fencing.finish(session, claim, {"updates": 0, "lost": reason})
    wake_run(session, run.id)


def _before(session: Session, run: Run) -> Checkpoint | None:
    state = session.get_one(Checkpoint, run.training_state_id)
    parent = session.get(Checkpoint, state.parent_id) if state.parent_id else None
    return parent if parent is not None and parent.kind != CheckpointKind.REFERENCE else None


def _checkpoint(
    session: Session, run: Run, plan: PPOPlan, result: PPOResult, kind: CheckpointKind, digest: str
) -> Checkpoint:
    parents = {CheckpointKind.TRAINING_STATE: run.training_state_id, CheckpointKind.POLICY: run.serving_id}
    made = Checkpoint(
        run_id=run.id,
        kind=kind,
        digest=digest,
        number=next_number(session, run.id, kind),
        parent_id=parents[kind] or run.reference_id,
        reward_model_id=plan.reward.checkpoint_id,
        episodes=result.update * plan.hparams.ppo.batch,
        kl_coef=result.kl_coef,
        report=_report(result.stats),
    )
    session.add(made)
    session.flush()
    return made


def _report(stats: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Means over the job's updates of what the promotion guards and people want to know."""
    names = {"kl": "objective/kl", "valid_fraction": "objective/valid_fraction", "score": "objective/score"}
    return {short: sum(one[name] for one in stats) / len(stats) for short, name in names.items()}


def _published(session: Session, run: Run) -> int:
    published = (Checkpoint.run_id == run.id, Checkpoint.kind == CheckpointKind.POLICY)
    behind = select(func.max(Checkpoint.episodes)).where(*published, Checkpoint.episodes <= run.episodes)
    return session.scalar(behind) or 0


def outdated_states(session: Session, run_id: UUID, *, keep: int) -> list[str]:
    """Digests of training states beyond the run's and those before it, `keep` in all; their files may go.

    None while a backup is made; the next time finds them.
    """
    if not retention.may_remove(session):
        return []
    states = (Checkpoint.run_id == run_id, Checkpoint.kind == CheckpointKind.TRAINING_STATE)
    newest_first = select(Checkpoint).where(*states).order_by(Checkpoint.number.desc())
    found = {state.id: state for state in session.scalars(newest_first.limit(keep + RECHECKED_STATES))}
    kept, place = set[str](), runs.get(session, run_id).training_state_id
    while place in found and len(kept) < keep:  # by parents: states that were lost are no step to go back to
        kept.add(found[place].digest)
        place = found[place].parent_id
    return [state.digest for state in found.values() if state.digest not in kept]
