"""A PPO job: one update after another for a bounded time, then the state is saved and, when due, a policy published."""

import time
from collections.abc import Callable

import structlog

from workers.nets.compiling import compile_all
from workers.plans import PPOPlan, PPOResult
from workers.ppo_trainer import PPOTrainer
from workers.query_order import order_seed, query_order
from workers.rlhf.types import QueryBatch
from workers.schedules import schedule_of
from workers.workshop import Workshop

JOB_SECONDS = 60.0
"""A PPO job ends after the update that reaches this: its end is when the training state is saved."""

Told = Callable[[int, dict[str, float]], None]
"""Takes the number of updates done and the last one's statistics."""

log = structlog.get_logger()


def run(
    workshop: Workshop,
    plan: PPOPlan,
    *,
    may_go_on: Callable[[], bool],
    seconds: float = JOB_SECONDS,
    told: Told | None = None,
) -> PPOResult | None:
    """Updates until time, labels, a policy due or `may_go_on` says stop; None if it allowed none.

    What the result names is on the disk. Of several processes that train together the first decides when to stop.
    """
    trainer = workshop.trainer(plan)
    stats: list[dict[str, float]] = []
    started = time.monotonic()

    def goes_on() -> bool:
        if time.monotonic() - started >= seconds or (stats and publish_due(plan, trainer.progress.update)):
            return False
        return may_go_on()

    while len(stats) < plan.updates and workshop.ranks.agreed(goes_on):
        stats.append(_update(workshop, plan, trainer))
        if told is not None:
            told(trainer.progress.update, stats[-1])
    return _saved(workshop, plan, trainer, stats) if stats else None


def publish_due(plan: PPOPlan, update: int) -> bool:
    """Whether a policy should be published after so many updates."""
    return schedule_of(plan.hparams).publish_due(
        update, published_episodes=plan.published_episodes, reward_episodes=plan.reward_episodes
    )


def _update(workshop: Workshop, plan: PPOPlan, trainer: PPOTrainer) -> dict[str, float]:
    scorer = workshop.reward_model(plan.reference, plan.reward)
    if workshop.compiled:
        compile_all(scorer)
    began = time.monotonic()
    done = trainer.update(_batch(workshop, plan, trainer.progress.update), scorer)
    log.info("ppo_update", update=trainer.progress.update, kl=done["objective/kl"], score=done["objective/score"])
    return done | {"time/episodes_per_second": plan.hparams.ppo.batch / (time.monotonic() - began)}


def _batch(workshop: Workshop, plan: PPOPlan, update: int) -> QueryBatch:
    hparams, batch = plan.hparams, plan.hparams.ppo.batch
    order = query_order(len(plan.queries), start=update * batch, count=batch, seed=order_seed(hparams))
    texts = [plan.queries[i] for i in order]
    return workshop.reference(plan.reference).queries(texts, hparams.task, hparams.reward.query)


def _saved(workshop: Workshop, plan: PPOPlan, trainer: PPOTrainer, stats: list[dict[str, float]]) -> PPOResult:
    return PPOResult(
        state_digest=workshop.save_state(trainer),
        policy_digest=(
            workshop.publish(trainer, plan.reference) if publish_due(plan, trainer.progress.update) else None
        ),
        update=trainer.progress.update,
        kl_coef=trainer.progress.kl_coef,
        stats=stats,
    )
