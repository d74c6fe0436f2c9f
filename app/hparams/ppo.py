"""Policy optimisation (Ziegler et al. 2019, section 2.2) and what may stop it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.hparams.base import Fraction, HParams, Positive, Rate


class GuardHParams(HParams):
    """Bounds on every update; beyond one of them the update is not saved and PPO stops with the reason."""

    ratio_error: Rate = 1e-3
    """float32: largest |ratio - 1| of the first pass over a rollout, before any step."""
    ratio_mean_bf16: Rate = 1e-2
    """bfloat16: mean |ratio - 1| of that pass. Beyond it old log-probs come from the training forward instead."""
    ratio_tail_bf16: Rate = 0.1
    """bfloat16: 99.9th percentile of |ratio - 1|; beyond it likewise."""
    start_kl: Rate = 1e-3
    """float32: mean |log-ratio| of policy to reference in nats per response at the very first update, when both are the
    same and nothing but rounding sets them apart."""
    start_kl_bf16: Rate = 0.2
    """bfloat16: the same; its rounding may add up to some hundredths over a response."""
    invalid_fraction: Fraction = 0.85
    """Share of samples that do not end in time. An update stops when its samples show more beyond chance: when the
    lower end of their 95 % interval exceeds it. All 32 of 32 do, all 16 of 16 do not."""
    entropy_floor: Annotated[float, Field(ge=0)] = 0.05
    """Smallest entropy in nats per token, over one update."""
    sign_check: Positive | None = 20
    """Updates between two checks that the gradient raises what scores high and pulls toward the reference; the first
    update is checked too. None: never."""


class PPOHParams(HParams):
    """Policy optimisation."""

    episodes: Positive = 2_000_000
    """Episodes in the whole run."""
    batch: Positive = 1024
    """Episodes per update."""
    minibatches: Positive = 1
    """Optimizer steps per pass over a rollout; rewards and advantages are whitened in each."""
    micro_batch: Positive = 64
    """Rows per forward and backward pass; changes memory, never the result."""
    epochs: Positive = 4
    """Passes over each rollout."""
    learning_rate: Rate = 1.41e-5
    """Adam, linear to 0 over the run's updates."""
    adam: Literal["tensorflow", "pytorch"] = "tensorflow"
    """Where epsilon stands; with small gradients PyTorch's first steps are several times larger."""
    adam_epsilon: Rate = 1e-5
    """Keeps Adam's denominator from zero."""
    gamma: Fraction = 1.0
    """Discount per token."""
    lam: Fraction = 0.95
    """Of the generalised advantage estimate, per token; 1 trusts returns, 0 trusts values."""
    clip_ratio: Rate = 0.2
    """Distance of the policy's ratio from 1 beyond which it gains nothing."""
    clip_value: Rate = 0.2
    """Distance of a value from the one before the update beyond which it is clipped."""
    value_coef: Rate = 0.1
    """Weight of the value loss."""
    value_network: Literal["shared", "separate"] = "shared"
    """`shared`: a head on the policy's trunk, as published; `separate`: a trunk of its own (Stiennon et al. 2020)."""
    value_init: Literal["zero", "reward_model"] = "zero"
    """Where the value head (and a separate trunk) starts. `reward_model` wants a head that reads the last token at
    the final norm."""
    whiten_rewards: bool = True
    """Rewards are divided by their standard deviation in each minibatch; their mean stays."""
    kl_coef: Annotated[float, Field(ge=0)] = 0.15
    """Initial coefficient of the KL penalty; 0, without a target, is no penalty."""
    kl_target: Annotated[float, Field(gt=0)] | None = 6.0
    """Nats per response; None keeps the coefficient fixed."""
    kl_horizon: Positive = 10_000
    """Episodes over which the controller moves the coefficient by a factor of e at most 1.2."""
    kl_coef_least: Annotated[float, Field(ge=0)] = 0.0
    """The adaptive coefficient falls no lower: in a short run it could not rise again as fast as the policy moves."""
    kl_damping: Annotated[float, Field(ge=0, le=5)] = 0.0
    """Answer to the last update's KL at once: the coefficient times e^damping at twice the target, by it at 0."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"
    """Of the penalty in the reward; what is reported and controlled is k1, the unbiased one."""
    mode: Literal["corrected", "reference"] = "corrected"
    """Where the score is added: at the true end of the sample, or on the last index as published."""
    frozen_layers: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of the lowest layers that stay as in the reference; each rollout computes them once, for both.

    With half of them frozen a policy moves about half as far at the same rate.
    """
    query_seed: int | None = None
    """Orders the queries; None: the run's seed. Published: 0 whatever the seed."""
    guards: GuardHParams = GuardHParams()

    @model_validator(mode="after")
    def _whole_updates(self) -> Self:
        if self.episodes % self.batch:
            raise ValueError(f"episodes ({self.episodes}) must be a multiple of batch ({self.batch})")
        if self.batch % self.minibatches:
            raise ValueError(f"batch ({self.batch}) must be a multiple of minibatches ({self.minibatches})")
        if self.kl_target is not None and self.batch >= 5 * self.kl_horizon:  # its error is clipped to a fifth
            raise ValueError(
                f"kl_horizon ({self.kl_horizon}) must exceed a fifth of batch ({self.batch}), or one update could turn "
                "the KL coefficient negative"
            )
        if self.kl_coef_least > self.kl_coef:
            raise ValueError(f"kl_coef_least ({self.kl_coef_least}) must not exceed kl_coef ({self.kl_coef})")
        if self.kl_coef == 0 and self.kl_target is not None:
            raise ValueError("a kl_coef of 0 never rises: give it a value, or set kl_target to null for no penalty")
        if self.whiten_rewards and self.minibatch < 8:
            raise ValueError("whitened rewards need at least 8 episodes per minibatch")
        return self

    @property
    def minibatch(self) -> int:
        """Episodes per optimizer step."""
        return self.batch // self.minibatches

    @property
    def updates(self) -> int:
        """PPO updates in the whole run."""
        return self.episodes // self.batch
