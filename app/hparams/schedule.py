"""When people label, when the reward model retrains, when PPO may go on (Ziegler et al. 2019, section 2.3)."""

from typing import Literal, Self

from pydantic import model_validator

from app.hparams.base import Fraction, HParams, Positive


class ScheduleHParams(HParams):
    """Label collection."""

    kind: Literal["online", "batched", "offline"] = "online"
    """`online`: people label while PPO runs; `batched`: rounds of collecting, training the reward model, and PPO;
    `offline`: one such round."""
    initial_labels: Positive = 1_000
    """Labels before the first reward model, all on samples of the reference."""
    total_labels: Positive = 5_000
    """The label budget: labels that train, in the whole run."""
    reward_trainings: Positive = 20
    """Reward model trainings in all, the first at `initial_labels`; in `batched` the number of rounds."""
    outstanding: Positive = 1_000
    """`online`: labels asked for beyond those the schedule needs now; another batch is written whenever fewer are."""
    valid_fraction: Fraction = 0.1
    """Share of comparisons on prompts of the valid split; these train nothing."""
    promote_episodes: Positive = 51_200
    """`online`: episodes between two promotions of the training policy to the one that writes samples for people.
    In the other kinds a policy is published at the end of each round."""
    refresh_episodes: Positive | None = None
    """`online`: episodes after which a new reward model's first policy is promoted, sooner than `promote_episodes`
    would, so that people see what their labels did. None: it waits like any other."""

    @model_validator(mode="after")
    def _initial_within_total(self) -> Self:
        if self.initial_labels > self.total_labels:
            raise ValueError("initial_labels must not exceed total_labels")
        if self.reward_trainings > self.total_labels - self.initial_labels + 1:
            raise ValueError("reward_trainings must not outnumber the label counts from initial_labels to total_labels")
        if self.kind == "offline" and (self.initial_labels != self.total_labels or self.reward_trainings != 1):
            raise ValueError(
                "offline takes all labels before its one reward training: set initial_labels to total_labels and "
                "reward_trainings to 1"
            )
        return self
