"""Which Adam, with which epsilon, at which rate."""

from math import sqrt
from typing import Any

import pytest
import torch

from app.hparams import PPOHParams
from workers.ppo_optimizer import make_optimizer, set_rate


def first_step(gradient: float, **changes: Any) -> float:
    """How far one weight moves in its first step at rate 1, in float32."""
    ppo = PPOHParams.model_validate({"episodes": 8, "batch": 8, "learning_rate": 1.0} | changes)
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.tensor([gradient])
    make_optimizer([weight], ppo).step()
    return -weight.item()


@pytest.mark.parametrize("gradient", [1e-6, 1e-5, 1e-3])
@pytest.mark.parametrize("epsilon", [1e-5, 1e-8])
def test_the_first_steps_of_both_forms(gradient: float, epsilon: float) -> None:
    # m = g / 10 and v = g^2 / 1000; bias correction makes of them g and g^2. PyTorch: g / (g + eps). TensorFlow adds
    # eps to sqrt(v) before the correction: g / (g + eps sqrt(1000)).
    ours, theirs = (first_step(gradient, adam=form, adam_epsilon=epsilon) for form in ("tensorflow", "pytorch"))
    assert ours == pytest.approx(gradient / (gradient + epsilon * sqrt(1000)), rel=1e-4)
    assert theirs == pytest.approx(gradient / (gradient + epsilon), rel=1e-4)


def test_with_the_published_epsilon_and_small_gradients_pytorchs_first_step_is_many_times_larger() -> None:
    ratio = first_step(1e-6, adam="pytorch") / first_step(1e-6, adam="tensorflow")
    # (1e-6 + 1e-5 sqrt(1000)) / (1e-6 + 1e-5)
    assert ratio == pytest.approx(28.839, rel=1e-3)


def test_the_rate_falls_in_a_line_and_stays_within_an_update() -> None:
    ppo = PPOHParams(episodes=40, batch=8, learning_rate=0.5)
    optimizer = make_optimizer([torch.nn.Parameter(torch.zeros(1))], ppo)
    assert [set_rate(optimizer, ppo, update) for update in range(5)] == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1])
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)
