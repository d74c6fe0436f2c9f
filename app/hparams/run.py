"""Everything that decides what a run computes."""

from typing import Annotated

from pydantic import Field

from app.hparams.base import HParams
from app.hparams.ppo import PPOHParams
from app.hparams.reward import RewardHParams
from app.hparams.schedule import ScheduleHParams
from app.hparams.task import TaskHParams


class RunHParams(HParams):
    """One run."""

    preset: str
    task: TaskHParams
    reward: RewardHParams
    ppo: PPOHParams
    schedule: ScheduleHParams
    prompt_set: str = "stories"
    """Name of the imported prompts."""
    seed: Annotated[int, Field(ge=0)] = 0
