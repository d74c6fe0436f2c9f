import math
from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.rlhf.kl import KLEstimator, adaptive_kl_coef, damped_kl_coef, kl_per_episode, kl_per_token

ESTIMATORS: list[KLEstimator] = ["k1", "k2", "k3"]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_policy_equal_to_the_reference_has_no_kl(estimator: KLEstimator) -> None:
    logprobs = torch.tensor([[-0.1, -7.0]])
    assert kl_per_token(logprobs, logprobs, estimator=estimator).tolist() == [[0.0, 0.0]]


def test_estimators_by_hand() -> None:
    logprobs, ref = torch.tensor([[math.log(0.5)]]), torch.tensor([[math.log(0.25)]])
    values = [kl_per_token(logprobs, ref, estimator=name).item() for name in ESTIMATORS]
    assert values == pytest.approx([math.log(2), math.log(2) ** 2 / 2, 0.5 - 1 + math.log(2)])


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_the_unbiased_estimators_average_to_the_kl(estimator: KLEstimator) -> None:
    policy, reference = torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([[0.2, 0.3, 0.5]])
    true_kl = 0.7 * math.log(0.7 / 0.2) + 0.2 * math.log(0.2 / 0.3) + 0.1 * math.log(0.1 / 0.5)
    estimates = kl_per_token(policy.log(), reference.log(), estimator=estimator)
    assert (policy * estimates).sum().item() == pytest.approx(true_kl, rel=1e-5)


def test_kl_per_episode_sums_the_tokens_that_count() -> None:
    kl = torch.tensor([[1.0, 2.0, float("nan")], [0.5, 0.5, 0.5]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert kl_per_episode(kl, mask).tolist() == [3.0, 0.5]
    assert kl_per_episode(kl)[1].item() == 1.5


def test_the_controller_by_hand() -> None:
    # 6 nats wanted, 6.6 seen: error 0.1, and 512 of 10,000 episodes.
    assert adaptive_kl_coef(0.15, 6.6, target=6, horizon=10_000, episodes=512) == pytest.approx(0.15 * 1.00512)
    # The paper's K = 0.1 is batch 1024 at this horizon; the error is clipped to 0.2.
    assert adaptive_kl_coef(1.0, 60, target=6, horizon=10_000, episodes=1024) == pytest.approx(1.02048)
    assert adaptive_kl_coef(1.0, 0, target=6, horizon=10_000, episodes=1024) == pytest.approx(0.97952)


@given(
    coef=st.floats(1e-6, 100),
    observed=st.floats(-100, 1000),
    target=st.floats(0.1, 100),
    episodes=st.integers(1, 2048),
)
def test_the_coefficient_moves_toward_the_target_and_stays_positive(
    coef: float, observed: float, target: float, episodes: int
) -> None:
    moved = adaptive_kl_coef(coef, observed, target=target, horizon=10_000, episodes=episodes)
    assert moved > 0
    assert moved >= coef if observed >= target else moved <= coef
    assert abs(moved / coef - 1) <= 0.2 * episodes / 10_000 + 1e-9


def test_the_controller_settles_where_kl_meets_the_target() -> None:
    coef = 1.0
    for _ in range(2000):  # a plant in which KL falls as the coefficient grows
        coef = adaptive_kl_coef(coef, 1.2 / coef, target=6, horizon=320, episodes=32)
    assert coef == pytest.approx(0.2, rel=1e-3)


def test_damping_by_hand() -> None:
    def damped(observed: float | None, damping: float = 1.0) -> float:
        return damped_kl_coef(0.15, observed, target=6, damping=damping)

    assert damped(None) == damped(6) == damped(60, damping=0) == 0.15
    assert damped(12) == damped(600) == pytest.approx(0.15 * math.e)  # the error is clipped to 1
    assert damped(0) == damped(-3) == pytest.approx(0.15 / math.e)
    assert damped(9, damping=2) == pytest.approx(0.15 * math.e)


def swings(damping: float) -> list[float]:
    """KL of 400 updates of a policy that follows a tenth of the way each time to where its coefficient leads it."""
    coef, kl, seen = 0.1, 0.0, []
    for _ in range(400):
        kl += 0.1 * (1.2 / damped_kl_coef(coef, kl, target=6, damping=damping) - kl)
        coef = adaptive_kl_coef(coef, kl, target=6, horizon=64, episodes=32)
        seen.append(kl)
    return seen


def test_a_damped_controller_swings_less_and_settles_at_the_same_kl() -> None:
    plain, damped = swings(0.0), swings(1.0)
    assert max(plain) > 9
    assert max(damped) < 8
    assert damped[-1] == pytest.approx(6, abs=0.05)


@pytest.mark.parametrize(
    ("observed", "target", "horizon", "message"),
    [
        (math.nan, 6, 320, "diverged"),
        (math.inf, 6, 320, "diverged"),
        (6, 0, 320, "positive"),
        (6, 6, -1, "positive"),
        (6, 6, 6.4, "horizon 6.4 must be longer"),  # one update could turn the sign of the penalty
    ],
)
def test_the_controller_refuses_what_would_break_it(
    observed: float, target: float, horizon: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        adaptive_kl_coef(0.1, observed, target=target, horizon=horizon, episodes=32)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\) and ref_logprobs \(2, 1\)"):
        kl_per_token(torch.zeros(1, 2), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="k4"):
        kl_per_token(torch.zeros(1, 2), torch.zeros(1, 2), estimator=cast(KLEstimator, "k4"))
