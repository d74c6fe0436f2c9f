"""Who does the training of a job: this process, or several that it gives orders to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from workers import ppo_job
from workers.plans import PPOPlan, PPOResult, RewardPlan
from workers.ppo_job import Told
from workers.workshop import Workshop


class Processes(Protocol):
    """Processes that train one model together."""

    def fit_for(self, rows: int) -> int:
        """How many of them can share so many rows evenly."""
        ...

    def train_policy(
        self, plan: PPOPlan, *, may_go_on: Callable[[], bool], told: Told | None = None
    ) -> PPOResult | None:
        """As `ppo_job.run`."""
        ...

    def fit_reward(self, plan: RewardPlan) -> tuple[str, dict[str, Any]]:
        """As `Workshop.fit_reward`."""
        ...

    def disband(self) -> None:
        """Let them end, with all that they hold in memory."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainers:
    """The models of this process, and the processes that train beside it."""

    workshop: Workshop
    team: Processes | None = None

    def train_policy(
        self, plan: PPOPlan, *, may_go_on: Callable[[], bool], told: Told | None = None
    ) -> PPOResult | None:
        """A PPO job; see `ppo_job.run`."""
        if self.team is None or self.team.fit_for(plan.hparams.ppo.minibatch) == 1:
            return ppo_job.run(self.workshop, plan, may_go_on=may_go_on, told=told)
        return self.team.train_policy(plan, may_go_on=may_go_on, told=told)

    def fit_reward(self, plan: RewardPlan) -> tuple[str, dict[str, Any]]:
        """Fit and write a reward model; see `Workshop.fit_reward`. One process does where no candidate is tuned."""
        tuned = any(head.tuned for head in plan.hparams.reward.heads)
        if not tuned or self.team is None or self.team.fit_for(plan.hparams.ppo.minibatch) == 1:
            return self.workshop.fit_reward(plan)
        return self.team.fit_reward(plan)

    def forget(self) -> None:
        """Let go of everything that a failed job may have left half-done."""
        self.workshop.forget()
        if self.team is not None:
            self.team.disband()
