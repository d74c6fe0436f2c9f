"""What PPO minimises: rewards, advantages and both losses of one minibatch, as the hyperparameters say."""

from typing import NamedTuple

from torch import Tensor

from app.hparams import PPOHParams
from workers.rlhf.advantages import Advantages, advantages_and_returns
from workers.rlhf.losses import PolicyLoss, ValueLoss, policy_loss, value_loss
from workers.rlhf.masks import response_mask
from workers.rlhf.rewards import per_token_rewards
from workers.rlhf.types import Rollout


class Losses(NamedTuple):
    """Of one minibatch or a part of it."""

    total: Tensor
    """() float, with gradient: policy loss plus value loss times its coefficient."""
    policy: PolicyLoss
    value: ValueLoss


class Objective:
    """The published objective. Another one may be handed to the trainer; the sign check then judges that."""

    def __init__(self, ppo: PPOHParams) -> None:
        self.ppo = ppo

    def mask(self, batch: Rollout) -> Tensor | None:
        """(b, r) bool, True on kept tokens, in corrected mode; None (every token counts) in reference mode."""
        if self.ppo.mode == "reference":
            return None
        return response_mask(batch.lengths, batch.responses.shape[1])

    def rewards(self, batch: Rollout, *, kl_coef: float) -> Tensor:
        """(b, r) float; KL penalty per token, score on one of them."""
        return per_token_rewards(
            batch.logprobs,
            batch.ref_logprobs,
            batch.scores,
            batch.lengths,
            kl_coef=kl_coef,
            mode=self.ppo.mode,
            estimator=self.ppo.kl_estimator,
        )

    def targets(self, batch: Rollout, *, kl_coef: float) -> Advantages:
        """Advantages and returns; whitening looks at this minibatch alone (lm-human-preferences PPOTrainer.loss)."""
        return advantages_and_returns(
            self.rewards(batch, kl_coef=kl_coef),
            batch.values,
            gamma=self.ppo.gamma,
            lam=self.ppo.lam,
            whiten_rewards=self.ppo.whiten_rewards,
            mask=self.mask(batch),
        )

    def losses(
        self, logprobs: Tensor, values: Tensor, batch: Rollout, targets: Advantages, mask: Tensor | None
    ) -> Losses:
        """Both losses of policy and value head as they are now: (b, r) float each, with gradient."""
        policy = policy_loss(logprobs, batch.logprobs, targets.advantages, clip=self.ppo.clip_ratio, mask=mask)
        value = value_loss(values, batch.values, targets.returns, clip=self.ppo.clip_value, mask=mask)
        return Losses(policy.loss + self.ppo.value_coef * value.loss, policy, value)
