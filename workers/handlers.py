"""What each kind of job does: read its plan, compute with no transaction open, record.

A handler may be run again after a kill at any line: nothing counts before its record, and files are written before the
row that names them.
"""

import time
from collections.abc import Callable, Sequence

import structlog

from app.kinds import JobKind
from workers import fencing
from workers.data import policy as policy_data
from workers.data import reference as reference_data
from workers.data import reward as reward_data
from workers.data import samples as sample_data
from workers.plans import PPOPlan, PPOResult, SamplePlan
from workers.ppo_trainer import PPOTrainer
from workers.query_order import order_seed, query_order
from workers.references import Reference
from workers.rlhf.types import QueryBatch
from workers.sampler import SampledPrompt
from workers.work import Work

JOB_SECONDS = 60.0
"""A PPO job ends after the update that reaches this: its end is when the training state is saved."""
KEPT_STATES = 2

log = structlog.get_logger()


def import_model(work: Work) -> None:
    """Make sure that the base model is there, and register it as the reference."""
    with work.transaction() as session:
        name = reference_data.base_model(session, work.claim)
    digest = work.workshop.reference_digest(name)
    with work.transaction() as session:
        reference_data.record_reference(session, work.claim, digest)


def sample(work: Work) -> None:
    """Write comparisons for people with the serving policy, scored by the reward model of the moment."""
    with work.transaction() as session:
        plan = sample_data.sample_plan(session, work.claim)
    sampled = work.workshop.write_comparisons(plan)
    scores = _scores_of(work, plan, sampled)
    with work.transaction() as session:
        sample_data.record_samples(session, work.claim, plan, sampled, scores)


def score(work: Work) -> None:
    """Score open samples with the newest reward model."""
    with work.transaction() as session:
        plan = sample_data.score_plan(session, work.claim)
    scores: list[float] = []
    if plan is not None and plan.samples:
        scores = work.workshop.scores(
            plan.policy, plan.reward, [(one.prompt, one.token_ids) for one in plan.samples], plan.task
        )
    with work.transaction() as session:
        if plan is not None:
            ids = [one.id for one in plan.samples]
            sample_data.record_scores(session, plan.reward, dict(zip(ids, scores, strict=True)))
        fencing.finish(session, work.claim, {"samples": len(scores)})


def showcase(work: Work) -> None:
    """Continue the run's fixed test prompts with one policy."""
    with work.transaction() as session:
        plan = sample_data.showcase_plan(session, work.claim)
    draws = work.workshop.write_once(plan)
    with work.transaction() as session:
        sample_data.record_showcase(session, work.claim, plan, draws)


def generate(work: Work) -> None:
    """Continue a prompt that a researcher typed."""
    with work.transaction() as session:
        plan = sample_data.generate_plan(session, work.claim)
    draws = work.workshop.write_once(plan, count=int(work.claim.args["count"]))
    with work.transaction() as session:
        sample_data.record_generated(session, work.claim, draws[0])


def train_reward(work: Work) -> None:
    """Fit a reward model to all usable labels, from the reference."""
    with work.transaction() as session:
        plan = reward_data.reward_plan(session, work.claim)
    digest, report = work.workshop.fit_reward(plan)
    with work.transaction() as session:
        reward_data.record_reward_model(session, work.claim, plan, digest, report)


def train_policy(work: Work) -> None:
    """PPO updates for about a minute; publish a policy when one is due."""
    with work.transaction() as session:
        plan = policy_data.ppo_plan(session, work.claim)
    trainer = work.workshop.trainer(plan)
    stats = _updates(work, plan, trainer)
    if not stats:
        _leave(work)
        return
    result = PPOResult(
        state_digest=work.workshop.save_state(trainer),
        policy_digest=work.workshop.publish(trainer) if _publish_due(plan, trainer) else None,
        update=trainer.progress.update,
        kl_coef=trainer.progress.kl_coef,
        stats=stats,
    )
    with work.transaction() as session:
        policy_data.record_ppo(session, work.claim, plan, result)
        outdated = policy_data.outdated_states(session, work.claim.run_id, keep=KEPT_STATES)
    work.workshop.delete(outdated)


HANDLERS: dict[JobKind, Callable[[Work], None]] = {
    JobKind.IMPORT_MODEL: import_model,
    JobKind.SAMPLE: sample,
    JobKind.SCORE: score,
    JobKind.SHOWCASE: showcase,
    JobKind.GENERATE: generate,
    JobKind.TRAIN_REWARD: train_reward,
    JobKind.TRAIN_POLICY: train_policy,
}


def _leave(work: Work) -> None:
    """End a job that may not start an update: for another worker if this one is stopping, else for good."""
    with work.transaction() as session:
        if work.should_stop():
            fencing.give_back(session, work.claim)
        else:  # paused or the cord is pulled: the loop starts another job once it may
            fencing.finish(session, work.claim, {"updates": 0})


def _scores_of(work: Work, plan: SamplePlan, sampled: Sequence[SampledPrompt]) -> dict[int, list[float]]:
    if plan.reward is None or not sampled:
        return {}
    flat = [
        (plan.prompts[one.prompt].text, tuple(draw.tokens[: draw.kept_tokens])) for one in sampled for draw in one.draws
    ]
    scores = iter(work.workshop.scores(plan.policy, plan.reward, flat, plan.task))
    return {one.prompt: [next(scores) for _ in one.draws] for one in sampled}


def _updates(work: Work, plan: PPOPlan, trainer: PPOTrainer) -> list[dict[str, float]]:
    """One update after another until time, labels, a policy due, a pause, the cord or the worker's end says stop."""
    reference = work.workshop.reference(plan.reference)
    scorer = work.workshop.reward_model(plan.reference, plan.reward)
    stats: list[dict[str, float]] = []
    started = time.monotonic()
    while len(stats) < plan.updates and time.monotonic() - started < JOB_SECONDS and not work.should_stop():
        if stats and _publish_due(plan, trainer):
            break
        with work.transaction() as session:
            if not policy_data.may_go_on(session, work.claim):
                break
        began = time.monotonic()
        done = trainer.update(_batch(reference, plan, trainer), scorer)
        seconds = time.monotonic() - began
        stats.append(done | {"time/episodes_per_second": plan.hparams.ppo.batch / seconds})
        log.info("ppo_update", update=trainer.progress.update, kl=done["objective/kl"], score=done["objective/score"])
    return stats


def _batch(reference: Reference, plan: PPOPlan, trainer: PPOTrainer) -> QueryBatch:
    hparams, batch = plan.hparams, plan.hparams.ppo.batch
    start = trainer.progress.update * batch
    order = query_order(len(plan.queries), start=start, count=batch, seed=order_seed(hparams))
    return reference.queries([plan.queries[i] for i in order], hparams.task, hparams.reward.query)


def _publish_due(plan: PPOPlan, trainer: PPOTrainer) -> bool:
    episodes = trainer.progress.update * plan.hparams.ppo.batch
    finished = trainer.progress.update == plan.hparams.ppo.updates
    return finished or episodes - plan.published_episodes >= plan.hparams.schedule.promote_episodes
