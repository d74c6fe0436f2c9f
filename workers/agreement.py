"""How far labelers agree, and how reliable each seems: a program, since its libraries take seconds to load.

Reads JSON from its input, writes JSON to its output; `workers.assessment` runs it. Krippendorff's alpha comes from
`krippendorff`, one-coin Dawid-Skene skills from `crowd-kit`.
"""

import json
import sys
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import krippendorff
import numpy as np
import pandas as pd
from crowdkit.aggregation import OneCoinDawidSkene
from numpy.typing import NDArray

RESAMPLES = 400
PRIOR_ANSWERS = 10
"""A labeler's skill is drawn toward that of all with the weight of so many answers."""

Answer = tuple[str, str, str]
"""Comparison, labeler, choice."""
Counts = NDArray[np.int64]
"""(n, v): how many people chose each of v values in each of n comparisons."""


def assess(answers: Sequence[Answer], *, values: int, seed: int) -> dict[str, Any]:
    """Agreement on comparisons that several people answered.

    Args:
        values: how many samples a comparison shows, for what blind choice would give.
        seed: of the bootstrap, which draws comparisons.
    Returns: `comparisons` and `labels` that several people gave; `alpha` (nominal) and `percent` (mean share of pairs
        that agree) with `value`, `low`, `high`, or None without such comparisons; `pairs` of labelers; `weights` by
        labeler, see `weights`.
    """
    table = pd.DataFrame(answers, columns=["task", "worker", "label"])
    shared = table[table.groupby("task")["worker"].transform("nunique") > 1]
    if shared.empty:
        return {"comparisons": 0, "labels": 0, "alpha": None, "percent": None, "pairs": [], "weights": {}}
    counts: Counts = pd.crosstab(shared["task"], shared["label"]).to_numpy()
    rng = np.random.default_rng(seed)
    drawn = [counts[rng.integers(len(counts), size=len(counts))] for _ in range(RESAMPLES)]
    return {
        "comparisons": len(counts),
        "labels": int(counts.sum()),
        "alpha": _interval(alpha(counts), [alpha(one) for one in drawn]),
        "percent": _interval(percent(counts), [percent(one) for one in drawn]),
        "pairs": pairs(shared),
        "weights": weights(shared, values),
    }


def alpha(counts: Counts) -> float | None:
    """Krippendorff's alpha for nominal values; None where everybody always chose the same, which tells nothing."""
    if (counts.sum(axis=0) > 0).sum() < 2:
        return None
    return float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))


def percent(counts: Counts) -> float:
    """Mean over comparisons of the share of pairs of people who chose the same."""
    people = counts.sum(axis=1)
    return float(((counts * (counts - 1)).sum(axis=1) / (people * (people - 1))).mean())


def pairs(shared: "pd.DataFrame") -> list[dict[str, Any]]:
    """For each two labelers who share comparisons: how many, and on how many they agree."""
    found: dict[tuple[str, str], list[bool]] = {}
    for _, rows in shared.groupby("task"):
        said = sorted(zip(rows["worker"], rows["label"], strict=True))
        for (one, first), (other, second) in combinations(said, 2):
            found.setdefault((one, other), []).append(first == second)
    return [
        {"one": one, "other": other, "n": len(same), "hits": sum(same)} for (one, other), same in sorted(found.items())
    ]


def weights(shared: "pd.DataFrame", values: int) -> dict[str, float]:
    """How much each labeler's answers should weigh: the share of answers they knew, in [0, 1].

    One-coin Dawid-Skene says how often each is right; somebody who guesses is right once in `values`, and weighs
    nothing. Few answers tell little: each is drawn toward the mean.
    """
    skills = OneCoinDawidSkene(n_iter=100).fit(shared).skills_
    answers = shared.groupby("worker").size()
    known = ((skills - 1 / values) / (1 - 1 / values)).clip(0, 1)
    mean = float((known * answers).sum() / answers.sum())
    drawn = (known * answers + mean * PRIOR_ANSWERS) / (answers + PRIOR_ANSWERS)
    return {str(worker): round(float(weight), 4) for worker, weight in drawn.items()}


def _interval(value: float | None, resampled: Sequence[float | None]) -> dict[str, float] | None:
    """95 % bootstrap interval by percentiles. Source: Efron 1979."""
    known = [one for one in resampled if one is not None]
    if value is None or not known:
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return {"value": value, "low": float(low), "high": float(high)}


def main() -> None:
    """Input to output."""
    asked = json.load(sys.stdin)
    json.dump(assess([tuple(one) for one in asked["answers"]], values=asked["values"], seed=asked["seed"]), sys.stdout)


if __name__ == "__main__":
    main()
