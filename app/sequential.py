"""A sequential test of yes-or-no outcomes: look after every one, stop when you like, and false alarms stay bounded.

The e-value of the outcomes so far is how often a bet against the null hypothesis has multiplied its stake. Under the
hypothesis it never exceeds 1 / error at any time, but with probability `error` at most (Ville's inequality), whatever
rule decides when to look. The bet is spread evenly over all chances on the other side of the hypothesis, so that no
size of the effect has to be guessed (a mixture test). Standard library only.

Source: Robbins 1970; Ramdas, Gruenwald, Vovk and Shafer 2023, "Game-theoretic statistics and safe anytime-valid
inference", section 3.
"""

from math import exp, inf, lgamma, log, log1p, pi

TINY = 1e-17


def evidence_below(hits: int, misses: int, *, chance: float) -> float:
    """Natural log of the e-value against "a hit comes with `chance` or more".

    E = (1 / c) * integral over p in [0, c] of (p / c)^hits * ((1 - p) / (1 - c))^misses; 0 without outcomes.
    Raises: ValueError unless 0 < chance < 1 and the counts are not negative.
    """
    if not 0 < chance < 1 or hits < 0 or misses < 0:
        raise ValueError(f"chance {chance} must lie in (0, 1), hits {hits} and misses {misses} not below 0")
    n = hits + misses + 1
    log_beta = lgamma(hits + 1) + lgamma(misses + 1) - lgamma(n + 1)
    log_likelihood = hits * log(chance) + misses * log1p(-chance)
    return log_beta + _log_tail(n, hits + 1, chance) - log_likelihood - log(chance)


def evidence_above(hits: int, misses: int, *, chance: float) -> float:
    """Natural log of the e-value against "a hit comes with `chance` or less"."""
    return evidence_below(misses, hits, chance=1 - chance)


def rejects(evidence: float, *, error: float, attempt: int | None = None) -> bool:
    """Whether an e-value of this log rejects its hypothesis.

    Args:
        error: largest probability of a false rejection, over all attempts together.
        attempt: counts from 1 the tests that share the error, such as one for each policy of a run; the k-th gets
            6 / (pi k)^2 of it, and all of them together no more than the whole. None: this is the only one.
    """
    return evidence >= log((1 if attempt is None else (pi * attempt) ** 2 / 6) / error)


def _log_tail(n: int, least: int, chance: float) -> float:
    """log P(Binomial(n, chance) >= least), 1 <= least <= n."""
    mode = chance * (n + 1)
    if least > mode:
        return _log_sum(n, least, chance, step=1)
    below = _log_sum(n, least - 1, chance, step=-1)
    return log1p(-exp(below)) if below < 0 else -inf


def _log_sum(n: int, first: int, chance: float, *, step: int) -> float:
    """log of the sum of binomial probabilities from `first` away from the mode; each is smaller than the one before."""
    odds = chance / (1 - chance)
    log_ways = lgamma(n + 1) - lgamma(first + 1) - lgamma(n - first + 1)
    log_first = log_ways + first * log(chance) + (n - first) * log1p(-chance)
    total = term = 1.0
    k = first
    while 0 <= k + step <= n and term > TINY * total:
        term *= (n - k) / (k + 1) * odds if step > 0 else k / (n - k + 1) / odds
        k += step
        total += term
    return log_first + log(total)
