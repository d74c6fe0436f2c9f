"""Everything that decides what a run computes."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from app.hparams.base import HParams
from app.hparams.collection import CollectionHParams
from app.hparams.labeling import LabelingHParams
from app.hparams.line import AndonHParams, PromotionHParams
from app.hparams.ppo import PPOHParams
from app.hparams.reward import Readout, RewardHParams
from app.hparams.schedule import ScheduleHParams
from app.hparams.task import TaskHParams


class RunHParams(HParams):
    """One run."""

    preset: str
    task: TaskHParams
    reward: RewardHParams
    ppo: PPOHParams
    schedule: ScheduleHParams
    labeling: LabelingHParams = LabelingHParams()
    collection: CollectionHParams = CollectionHParams()
    promotion: PromotionHParams = PromotionHParams()
    andon: AndonHParams = AndonHParams()
    prompt_set: str = "stories"
    """Name of the imported prompts."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of everything random."""

    @model_validator(mode="after")
    def _strength_is_of_pairs(self) -> Self:
        if self.labeling.strength and self.task.samples_per_comparison != 2:
            raise ValueError("labeling.strength is of pairs: set task.samples_per_comparison to 2, or leave it out")
        return self

    @model_validator(mode="after")
    def _values_start_where_they_can(self) -> Self:
        """Asked now: labels would be collected for long before the first update finds out."""
        suits = all(head.readouts == (Readout(),) for head in self.reward.heads) and self.reward.ensemble == 1
        if self.ppo.value_init == "reward_model" and not suits:
            raise ValueError(
                "ppo.value_init reward_model wants reward heads that read the last token at depth 1 alone, and an "
                "ensemble of 1: set it to zero, or change reward.heads and reward.ensemble"
            )
        return self

    @model_validator(mode="after")
    def _rounds_have_updates(self) -> Self:
        rounds, updates = self.schedule.reward_trainings, self.ppo.updates
        if self.schedule.kind == "batched" and rounds > updates:
            raise ValueError(f"{rounds} rounds need as many updates, not {updates}: lower schedule.reward_trainings")
        return self
