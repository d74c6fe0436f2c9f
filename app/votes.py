"""What blind votes say: majority, win rate, agreement, the win rate at equal length. Pure, standard library only."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import exp, log
from typing import Literal

from app.quality import Mean, mean_interval

Vote = Literal["left", "right", "tie"]
RIDGE = 1e-2
"""Keeps the slope finite where length decides everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One comparison and its votes."""

    votes: Mapping[str, Vote]
    """By labeler."""
    log_length_ratio: float
    """log(length of the left side / length of the right side)."""

    @property
    def majority(self) -> Vote:
        """What more people said than anything else; a tie where nothing was."""
        counts = {said: list(self.votes.values()).count(said) for said in ("left", "right", "tie")}
        most = max(counts.values())
        winners: list[Vote] = [said for said in ("left", "right", "tie") if counts[said] == most]
        return winners[0] if len(winners) == 1 else "tie"


def win_rate(items: Sequence[Item]) -> Mean | None:
    """Share of comparisons that the left side wins by majority, a tie being half a win; None below two of them."""
    values = [{"left": 1.0, "right": 0.0, "tie": 0.5}[one.majority] for one in items if one.votes]
    return mean_interval(values) if len(values) > 1 else None


def agreement(items: Sequence[Item]) -> dict[str, tuple[float, int]]:
    """Per labeler: how often another labeler of the same comparison said the same, and of how many pairs; "" is all."""
    same: dict[str, list[bool]] = defaultdict(list)
    for one in items:
        for (first, said), (second, other) in combinations(sorted(one.votes.items()), 2):
            for name in (first, second, ""):
                same[name].append(said == other)
    return {name: (sum(found) / len(found), len(found)) for name, found in sorted(same.items())}


def at_equal_length(items: Sequence[Item], *, steps: int = 50) -> float | None:
    """The win rate of the left side if both sides were as long: logistic regression on the log of the length ratio.

    Returns: the fitted share at ratio 1; None below two votes that are no ties.
    Source: Stiennon et al. 2020, appendix F; Newton's method, with a small ridge on the slope.
    """
    rows = [(one.log_length_ratio, said == "left") for one in items for said in one.votes.values() if said != "tie"]
    if len(rows) < 2:
        return None
    level = slope = 0.0
    for _ in range(steps):
        g0, g1, h00, h01, h11 = RIDGE * level, RIDGE * slope, RIDGE, 0.0, RIDGE
        for x, won in rows:
            p = _sigmoid(level + slope * x)
            w = p * (1 - p)
            g0, g1 = g0 + p - won, g1 + (p - won) * x
            h00, h01, h11 = h00 + w, h01 + w * x, h11 + w * x * x
        det = h00 * h11 - h01 * h01
        level, slope = level - (h11 * g0 - h01 * g1) / det, slope - (h00 * g1 - h01 * g0) / det
    return _sigmoid(level)


def log_ratio(left: Sequence[str], right: Sequence[str]) -> float:
    """Log of the ratio of mean lengths in characters; an empty text counts as one."""
    one, other = (sum(max(1, len(text)) for text in texts) / len(texts) for texts in (left, right))
    return log(one / other)


def _sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))
