"""Estimates with honest intervals. Pure: numbers in, numbers out, standard library only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An interval estimate; both ends belong to it."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean of `n` values and its interval."""

    mean: float
    low: float
    high: float
    n: int

    def turned(self) -> "Mean":
        """Of a share: that of the other side."""
        return Mean(mean=1 - self.mean, low=1 - self.high, high=1 - self.low, n=self.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """`hits` of `n` and the interval of the probability behind them; without trials nothing is known: 0 to 1."""

    hits: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float | None:
        """hits / n; None without trials."""
        return self.hits / self.n if self.n else None


def share(hits: int, n: int) -> Share:
    """A share with its 95 % Wilson interval."""
    interval = wilson_interval(hits, n)
    return Share(hits=hits, n=n, low=interval.low, high=interval.high)


def chi_square_evenness(counts: Sequence[int]) -> float:
    """Probability of counts at least as uneven as these if each of them were equally likely; sound from about 5 each.

    Raises: ValueError below two counts, or if all are 0.
    """
    total, k = sum(counts), len(counts)
    if k < 2 or total == 0:
        raise ValueError(f"evenness needs two counts and something counted, got {list(counts)}")
    expected = total / k
    return chi_square_tail(sum((count - expected) ** 2 for count in counts) / expected, k - 1)


def chi_square_tail(value: float, degrees: int) -> float:
    """Probability that a chi-square variable exceeds `value`.

    Source: Abramowitz and Stegun 26.4.4, 26.4.5 and 26.4.8.
    """
    odd = degrees % 2
    tail = math.erfc(math.sqrt(value / 2)) if odd else math.exp(-value / 2)
    for n in range(2 - odd, degrees, 2):  # from n degrees to n + 2
        tail += (value / 2) ** (n / 2) * math.exp(-value / 2) / math.gamma(n / 2 + 1)
    return tail


def wilson_interval(successes: int, n: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Score interval of a proportion: stays within [0, 1] and is sound for few trials, unlike mean +- 2 errors.

    Without trials nothing is known: [0, 1].
    Raises: ValueError unless 0 <= successes <= n.
    Source: Wilson 1927; Brown, Cai and DasGupta 2001, section 3.1.1.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes ({successes}) must lie between 0 and n ({n})")
    if n == 0:
        return Interval(low=0.0, high=1.0)
    z = _normal_quantile(confidence)
    p = successes / n
    shrink = 1 + z * z / n
    center = (p + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else center - half  # exactly 0 and 1 at the ends; rounding would miss them
    high = 1.0 if successes == n else center + half
    return Interval(low=low, high=high)


def paired_difference(both: int, first: int, second: int, neither: int) -> Interval:
    """Interval of the difference of two proportions measured on the same trials, the first less the second.

    Args:
        both, first, second, neither: trials that succeeded under both, under the first alone, the second alone, none.
    Raises: ValueError without trials.
    Source: Newcombe 1998, Statistics in Medicine 17, 2635, method 10 (score intervals joined by their correlation).
    """
    n = both + first + second + neither
    if n == 0:
        raise ValueError("without trials there is nothing to compare")
    one, other = wilson_interval(both + first, n), wilson_interval(both + second, n)
    p, q = (both + first) / n, (both + second) / n
    spread = math.sqrt((both + first) * (second + neither) * (both + second) * (first + neither))
    covered = both * neither - first * second
    shared = 0.0 if spread == 0 else (max(covered - n / 2, 0) if covered > 0 else covered) / spread

    def half(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * shared * a * b + b * b, 0.0))

    return Interval(low=p - q - half(p - one.low, other.high - q), high=p - q + half(one.high - p, q - other.low))


def mean_interval(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Mean:
    """Mean of independent values with Student's t interval.

    Raises: ValueError below two values: one value says nothing about its own spread.
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"an interval needs at least two values, got {n}")
    mean = fmean(values)
    half = t_quantile(n - 1, confidence=confidence) * stdev(values) / math.sqrt(n)
    return Mean(mean=mean, low=mean - half, high=mean + half, n=n)


def t_quantile(degrees: int, *, confidence: float = CONFIDENCE) -> float:
    """Two-sided quantile of Student's t: exact for one and two degrees, else within 0.5 % at 95 %.

    Raises: ValueError below one degree of freedom.
    Source: Abramowitz and Stegun 26.7.5.
    """
    if degrees < 1:
        raise ValueError(f"degrees must be at least 1, got {degrees}")
    if degrees == 1:
        return math.tan(math.pi * confidence / 2)
    if degrees == 2:
        return confidence * math.sqrt(2 / (1 - confidence**2))
    z = _normal_quantile(confidence)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return math.fsum((z, *(term / degrees**power for power, term in enumerate(terms, start=1))))


def _normal_quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
