"""Values that start from a reward model (Stiennon et al. 2020, appendix B)."""

import torch
from torch import nn

from app.errors import InvalidError
from workers.nets.policy import Policy
from workers.nets.reward_model import Read, RewardModel
from workers.nets.value_head import ValueNetwork


@torch.no_grad()
def start_from_reward_model(critic: Policy | ValueNetwork, reward: nn.Module) -> None:
    """Copy what turns hidden states into scores, scale included, into the value head.

    A network of its own also takes over the trunk of a tuned reward model; a frozen one's is the reference's.

    Raises: InvalidError if the reward model reads anything but the last token at the final norm: that is all a value
        head sees.
    """
    if not isinstance(reward, RewardModel) or reward.reads != (Read(),):
        raise InvalidError(
            "value_init reward_model wants a reward model with one head that reads the last token at the final norm: "
            "set value_init to zero, or reward.heads to that head alone and reward.ensemble to 1"
        )
    if isinstance(critic, ValueNetwork) and not reward.frozen:
        critic.language_model.load_state_dict(reward.trunk.state_dict())
    # gain * (w (h - mean) / std + b) + bias, multiplied out
    weight = reward.head.weight / reward.feature_std
    shift = reward.head.bias - weight @ reward.feature_mean
    critic.value_head.weight.copy_(reward.gain * weight)
    critic.value_head.bias.copy_(reward.gain * shift + reward.bias)
