"""How far choosing the best of N samples leads away from the policy that wrote them. No torch."""

import math


def best_of_n_kl(n: int) -> float:
    """Nats per response: ln n - (n - 1) / n.

    KL(best of n || policy) where no two scores are equal, and a bound on it where some are.
    Raises: ValueError unless n >= 1.
    Source: Stiennon et al. 2020, appendix G.3; Beirami et al. 2024 on the bound.
    """
    if n < 1:
        raise ValueError(f"best of {n}: choose among at least 1")
    return math.log(n) - (n - 1) / n
