import copy
from math import sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.rlhf.adam import TFAdam


def scalar_adam(start: float, grads: list[float], lr: float, beta1: float, beta2: float, eps: float) -> float:
    """TensorFlow's form, one number at a time."""
    p, m, v = start, 0.0, 0.0
    for t, g in enumerate(grads, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        p -= lr * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + eps)
    return p


def walk(optimizer: torch.optim.Optimizer, param: torch.Tensor, grads: list[float]) -> float:
    for grad in grads:
        param.grad = torch.full_like(param, grad)
        optimizer.step()
    return param.item()


def parameter(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64, requires_grad=True)


@given(
    grads=st.lists(st.floats(-10, 10), min_size=1, max_size=12),
    lr=st.floats(1e-6, 0.1),
    beta1=st.sampled_from([0.0, 0.5, 0.9]),
    beta2=st.sampled_from([0.9, 0.999]),
    eps=st.sampled_from([1e-8, 1e-5, 1e-2]),
)
def test_it_is_the_scalar_loop(grads: list[float], lr: float, beta1: float, beta2: float, eps: float) -> None:
    param = parameter(1.0)
    end = walk(TFAdam([param], lr, betas=(beta1, beta2), eps=eps), param, grads)
    assert end == pytest.approx(scalar_adam(1.0, grads, lr, beta1, beta2, eps), rel=1e-9, abs=1e-12)


def test_the_first_step_is_smaller_than_torchs_by_the_factor_in_eps() -> None:
    # m = 0.1 g, v = 0.001 g^2: the step is lr * g / (g + eps / sqrt(0.001)) instead of lr * g / (g + eps).
    g, lr, eps = 1e-5, 1.0, 1e-5
    ours, theirs = parameter(0.0), parameter(0.0)
    assert walk(TFAdam([ours], lr, eps=eps), ours, [g]) == pytest.approx(-1 / (1 + 1 / sqrt(0.001)))
    assert walk(torch.optim.Adam([theirs], lr, eps=eps), theirs, [g]) == pytest.approx(-1 / 2)


@pytest.mark.parametrize("grads", [[0.3, -0.2, 0.7] * 3])
def test_with_a_vanishing_eps_both_forms_are_the_same(grads: list[float]) -> None:
    ours, theirs = parameter(1.0), parameter(1.0)
    end = walk(TFAdam([ours], 0.01, eps=1e-16), ours, grads)
    assert end == pytest.approx(walk(torch.optim.Adam([theirs], 0.01, eps=1e-16), theirs, grads), rel=1e-9)


def test_after_many_steps_both_forms_are_the_same() -> None:
    grads = [1e-3, -2e-3] * 1000  # beta2^t has died out
    ours, theirs = parameter(0.0), parameter(0.0)
    optimizers = (
        TFAdam([ours], 1e-3, betas=(0.9, 0.99), eps=1e-5),
        torch.optim.Adam([theirs], 1e-3, betas=(0.9, 0.99), eps=1e-5),
    )
    before = [walk(o, p, grads) for o, p in zip(optimizers, (ours, theirs), strict=True)]
    after = [walk(o, p, [1e-3]) for o, p in zip(optimizers, (ours, theirs), strict=True)]
    assert after[0] - before[0] == pytest.approx(after[1] - before[1], rel=1e-4)


def test_a_saved_and_restored_optimizer_takes_the_same_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    grads = [torch.randn(3, 4, generator=generator) for _ in range(6)]

    def run(param: torch.Tensor, optimizer: TFAdam, some: list[torch.Tensor]) -> None:
        for grad in some:
            param.grad = grad.clone()
            optimizer.step()

    straight = torch.ones(3, 4, requires_grad=True)
    run(straight, TFAdam([straight], 0.1), grads)

    first = torch.ones(3, 4, requires_grad=True)
    interrupted = TFAdam([first], 0.1)
    run(first, interrupted, grads[:3])
    saved = copy.deepcopy(interrupted.state_dict())
    second = first.detach().clone().requires_grad_()
    resumed = TFAdam([second], 0.5)
    resumed.load_state_dict(saved)
    run(second, resumed, grads[3:])
    assert torch.equal(second, straight)


def test_a_parameter_without_gradient_stays_where_it_is() -> None:
    moved, still = parameter(1.0), parameter(1.0)
    moved.grad = torch.ones_like(moved)
    TFAdam([moved, still], 0.1).step()
    assert moved.item() < 1.0
    assert still.item() == 1.0


def test_a_closure_recomputes_the_loss() -> None:
    param = parameter(3.0)
    optimizer = TFAdam([param], 0.1)

    def closure() -> float:
        loss = param.square().sum()
        (param.grad,) = torch.autograd.grad(loss, param)
        return loss.item()

    assert optimizer.step(closure) == 9.0
    assert param.item() < 3.0


@pytest.mark.parametrize("bad", [{"lr": -1.0}, {"lr": 0.1, "eps": 0.0}, {"lr": 0.1, "betas": (0.9, 1.0)}])
def test_values_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        TFAdam([parameter(0.0)], **bad)  # type: ignore[arg-type]
