"""Hyperparameters and task presets: frozen, validated, with units.

Standard library and pydantic only, so that forms, the API and the trainers read one definition. A run stores its
`RunHParams` as JSON on its row when it is created and never changes it.
Sources: Ziegler et al. 2019 (sections 2 and 3) and the released configurations; see `docs/presets.md`.
"""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class HParams(BaseModel):
    """Frozen, and unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskHParams(HParams):
    """What is asked of the model and of people."""

    question: str
    """Shown above the samples."""
    query_tokens: Positive = 64
    """Longest query, in tokens; longer ones lose their beginning."""
    response_tokens: Positive = 24
    """Sampled length, always exactly this many tokens."""
    terminator: str | None = "."
    """A sample ends at the first token whose text ends so; None: no truncation and every sample is valid."""
    min_terminator_index: Annotated[int, Field(ge=0)] = 16
    """0-based index in the response from which the terminator counts."""
    temperature: Rate = 0.7
    """Divides every logit, of policy and reference alike, when sampling and in log-probs."""
    invalid_score: float = -1.0
    """Replaces the reward model's score where no terminator was found."""
    max_sampling_rounds: Positive = 16
    """Rejection sampling gives a prompt up after this many rounds of `4` samples."""

    @model_validator(mode="after")
    def _terminator_fits(self) -> Self:
        if self.min_terminator_index >= self.response_tokens:
            raise ValueError("min_terminator_index must be below response_tokens, or no sample is ever valid")
        return self


class Pooling(StrEnum):
    """Which tokens' hidden states the scalar head reads."""

    LAST = "last"
    """The last real token, as in the paper."""
    MEAN = "mean"
    """The mean over all real tokens of query and response."""


class Readout(HParams):
    """One place where a head reads hidden states."""

    pooling: Pooling = Pooling.LAST
    depth: Annotated[float, Field(gt=0, le=1)] = 1.0
    """As a fraction of the model's layers; 1 is the output of the final norm."""


class RewardHead(HParams):
    """One way to build a reward model from the reference."""

    readouts: Annotated[tuple[Readout, ...], Field(min_length=1)] = (Readout(),)
    """The linear head reads all of them side by side."""
    tuned: bool = False
    """True trains the whole trunk; False trains a linear head on cached features of the frozen reference."""


PAPER_HEAD = RewardHead(tuned=True)
MIDDLE_MEANS = tuple(Readout(pooling=Pooling.MEAN, depth=depth) for depth in (0.33, 0.5, 0.67))
PROBE_HEADS = (
    RewardHead(readouts=(*MIDDLE_MEANS, Readout())),
    RewardHead(readouts=MIDDLE_MEANS),
    *(RewardHead(readouts=(readout,)) for readout in MIDDLE_MEANS),
)


class RewardHParams(HParams):
    """Reward model training."""

    heads: Annotated[tuple[RewardHead, ...], Field(min_length=1)] = (PAPER_HEAD,)
    """Candidates; with more than one the lowest held-out loss (cross-validated by prompt) wins."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Folds of that cross-validation."""
    learning_rate: Rate = 1.77e-5
    """Adam, tuned trunks only; linear to 0."""
    batch: Positive = 8
    """Comparisons per optimizer step, tuned trunks only."""
    epochs: Positive = 1
    normalization_samples: Positive = 256
    """Reference samples whose scores are brought to mean 0 and standard deviation 1."""


class PPOHParams(HParams):
    """Policy optimisation (paper section 2.2)."""

    episodes: Positive = 2_000_000
    """Episodes in the whole run."""
    batch: Positive = 1024
    """Episodes per update."""
    micro_batch: Positive = 64
    """Rows per forward and backward pass; changes memory, never the result."""
    epochs: Positive = 4
    """Passes over each rollout."""
    learning_rate: Rate = 1.41e-5
    """Adam, linear to 0 over the run's updates."""
    adam: Literal["tensorflow", "pytorch"] = "tensorflow"
    """Where epsilon stands; with small gradients PyTorch's first steps are several times larger."""
    gamma: Fraction = 1.0
    lam: Fraction = 0.95
    clip_ratio: Rate = 0.2
    clip_value: Rate = 0.2
    value_coef: Rate = 0.1
    whiten_rewards: bool = True
    kl_coef: Rate = 0.15
    """Initial coefficient of the KL penalty."""
    kl_target: Annotated[float, Field(gt=0)] | None = 6.0
    """Nats per response; None keeps the coefficient fixed."""
    kl_horizon: Positive = 10_000
    """Episodes over which the controller moves the coefficient by a factor of e at most 1.2."""
    mode: Literal["corrected", "reference"] = "corrected"
    """Where the score is added: at the true end of the sample, or on the last index as published."""
    frozen_layers: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of the lowest layers that stay as in the reference."""

    @model_validator(mode="after")
    def _whole_updates(self) -> Self:
        if self.episodes % self.batch:
            raise ValueError(f"episodes ({self.episodes}) must be a multiple of batch ({self.batch})")
        return self

    @property
    def updates(self) -> int:
        """PPO updates in the whole run."""
        return self.episodes // self.batch


class ScheduleHParams(HParams):
    """When people label, the reward model retrains and PPO may go on (paper section 2.3)."""

    kind: Literal["online"] = "online"
    initial_labels: Positive = 1_000
    """Labels before the first reward model, all on samples of the reference."""
    total_labels: Positive = 5_000
    reward_trainings: Positive = 20
    """Reward model trainings in all, the first at `initial_labels`."""
    outstanding: Positive = 1_000
    """Labels asked for beyond those the schedule needs now."""
    valid_fraction: Fraction = 0.1
    """Share of comparisons on prompts of the valid split; these train nothing."""
    promote_episodes: Positive = 51_200
    """Episodes between two promotions of the training policy to the one that writes samples for people."""

    @model_validator(mode="after")
    def _initial_within_total(self) -> Self:
        if self.initial_labels > self.total_labels:
            raise ValueError("initial_labels must not exceed total_labels")
        return self


class RunHParams(HParams):
    """Everything that decides what a run computes."""

    preset: str
    task: TaskHParams
    reward: RewardHParams
    ppo: PPOHParams
    schedule: ScheduleHParams
    prompt_set: str = "stories"
    """Name of the imported prompts."""
    seed: Annotated[int, Field(ge=0)] = 0


SENTIMENT = TaskHParams(question="Which continuation is the most positive and happy?")
DESCRIPTIVENESS = TaskHParams(question="Which continuation is the most vividly descriptive?")

PRESETS: dict[str, RunHParams] = {
    "sentiment": RunHParams(
        preset="sentiment",
        task=SENTIMENT,
        reward=RewardHParams(),
        ppo=PPOHParams(episodes=1024 * 1954, kl_target=10.0),
        schedule=ScheduleHParams(),
    ),
    "descriptiveness": RunHParams(
        preset="descriptiveness",
        task=DESCRIPTIVENESS,
        reward=RewardHParams(),
        ppo=PPOHParams(episodes=1024 * 1954, kl_target=6.0),
        schedule=ScheduleHParams(),
    ),
    "sentiment-124m": RunHParams(
        preset="sentiment-124m",
        task=SENTIMENT,
        reward=RewardHParams(learning_rate=5e-5, batch=32, normalization_samples=512),
        ppo=PPOHParams(episodes=512 * 1954, batch=512, learning_rate=1e-5),
        schedule=ScheduleHParams(total_labels=4_992),
    ),
    "sentiment-small": RunHParams(
        preset="sentiment-small",
        task=SENTIMENT,
        reward=RewardHParams(heads=PROBE_HEADS),
        ppo=PPOHParams(
            episodes=4_000,
            batch=32,
            micro_batch=32,
            epochs=2,
            learning_rate=1e-4,
            kl_target=6.0,
            kl_horizon=320,
            frozen_layers=0.5,
        ),
        schedule=ScheduleHParams(
            initial_labels=64,
            total_labels=600,
            reward_trainings=10,
            outstanding=32,
            promote_episodes=320,
        ),
    ),
}


def preset(name: str) -> RunHParams:
    """The preset of that name; KeyError names the known ones."""
    if name not in PRESETS:
        raise KeyError(f"no preset {name!r}; choose one of: {', '.join(sorted(PRESETS))}")
    return PRESETS[name]
