"""How far a measured share may be from the truth."""

from math import sqrt
from typing import NamedTuple

Z_95 = 1.959964


class Share(NamedTuple):
    """A share with its 95 % interval, all in [0, 1]."""

    value: float
    low: float
    high: float


def wilson(successes: int, n: int) -> Share:
    """Share of successes among n independent trials, with Wilson's score interval.

    Raises: ValueError unless 0 <= successes <= n and n >= 1.
    Source: Wilson 1927.
    """
    if not (n >= 1 and 0 <= successes <= n):
        raise ValueError(f"{successes} successes of {n} trials")
    share, z2 = successes / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = Z_95 / (1 + z2 / n) * sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    # Without a success the lower end is 0, with nothing else the upper one 1; rounding would miss both.
    return Share(share, centre - reach if successes else 0.0, centre + reach if successes < n else 1.0)
