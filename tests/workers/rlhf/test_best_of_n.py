"""The bound against published figures and against best-of-N policies written out."""

import math

import pytest

from workers.rlhf.best_of_n import best_of_n_kl


@pytest.mark.parametrize(("n", "nats"), [(1, 0.0), (8, 1.2), (64, 3.2), (128, 3.9), (256, 4.5), (512, 5.2)])
def test_the_published_figures(n: int, nats: float) -> None:
    assert best_of_n_kl(n) == pytest.approx(nats, abs=0.06)


def written_out(probabilities: list[float], n: int) -> float:
    """KL of the best of n from the policy; outcomes stand from worst to best: P(best <= x) = P(one <= x)^n."""
    below, total = 0.0, 0.0
    for p in probabilities:
        chosen = (below + p) ** n - below**n
        total += chosen * math.log(chosen / p) if chosen else 0.0
        below += p
    return total


@pytest.mark.parametrize("n", [1, 2, 5, 32])
def test_a_policy_of_few_outcomes_stays_below_it(n: int) -> None:
    for probabilities in ([0.5, 0.3, 0.15, 0.05], [0.05, 0.15, 0.3, 0.5], [0.25] * 4):
        assert written_out(probabilities, n) <= best_of_n_kl(n) + 1e-12


def test_a_policy_of_many_outcomes_reaches_it() -> None:
    assert written_out([1e-4] * 10_000, 16) == pytest.approx(best_of_n_kl(16), abs=1e-2)


def test_nothing_to_choose_from_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        best_of_n_kl(0)
