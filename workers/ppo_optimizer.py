"""The optimizer of PPO: Adam in two forms, without weight decay, its rate falling in a line."""

import torch

from app.hparams import PPOHParams
from workers.rlhf.adam import TFAdam
from workers.rlhf.schedule import linear_decay


def make_optimizer(parameters: list[torch.nn.Parameter], ppo: PPOHParams) -> torch.optim.Optimizer:
    """Adam without weight decay, in the form `ppo.adam` names."""
    if ppo.adam == "tensorflow":
        return TFAdam(parameters, lr=ppo.learning_rate, eps=ppo.adam_epsilon)
    return torch.optim.Adam(parameters, lr=ppo.learning_rate, eps=ppo.adam_epsilon, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, ppo: PPOHParams, update: int) -> float:
    """Put in and return the learning rate of 0-based `update`; it stays the same within one."""
    rate = linear_decay(ppo.learning_rate, update, ppo.updates)
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate
