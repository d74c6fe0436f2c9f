"""What stops the line by itself: figures of a run in, reasons out. Pure; each detector can be asked alone.

The letters are those of `docs/architecture.md`, section 9; (a), the sign of the gradient, is asked before updates are
made (`workers.sign_check`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, isfinite, sqrt
from statistics import NormalDist, fmean

from app.hparams import AndonHParams
from app.quality import wilson_interval
from app.sequential import evidence_below, rejects

SHORTEST_TREND = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateFigures:
    """What one PPO update measured of its fresh samples."""

    score: float
    """Mean raw score."""
    optimised: float
    """Mean of the rewards that the objective handed to PPO, summed over the response."""
    kl: float
    kl_coef: float
    entropy: float
    """Nats per response."""
    valid: float
    """Share of samples that end in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Yes-or-no outcomes of one policy or reward model, the `attempt`-th that is tested, from 1."""

    hits: int
    misses: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of a run since it began, or since the cord was last released or the run rolled back."""

    first: Sequence[UpdateFigures]
    """Of the run's first updates."""
    last: Sequence[UpdateFigures]
    """Of the newest updates, oldest first."""
    batch: int
    """Episodes per update."""
    kl_target: float | None
    blind: Tally
    """Validation comparisons of the serving policy: hits are those it won against the reference."""
    choices: Tally
    """Labels that the newest reward model scored before they came: hits are choices in its upper half."""
    novel: tuple[float, float] | None = None
    """Shares of sentences that do not stand in their source: the most that the serving policy's may be, by its 95 %
    interval, and the reference's. None where nothing is summarised, or the reference serves."""


def alarms(evidence: Evidence, bounds: AndonHParams) -> list[str]:
    """Reasons to stop, empty while all is well."""
    return [reason for detector in DETECTORS.values() if (reason := detector(evidence, bounds)) is not None]


def falling_scores(evidence: Evidence, bounds: AndonHParams) -> str | None:
    """(b) Raw scores of fresh samples fall while the part of the optimised return that stands for them rises.

    That part is what is optimised with the KL penalty taken out again: where all is right the two are the same number,
    so that chance cannot part them. Trends by Mann and Kendall's test, over several stretches that end now.
    """
    if bounds.trend_error is None:
        return None
    length = bounds.trend_updates
    while length >= SHORTEST_TREND:
        rows = evidence.last[-length:]
        if len(rows) == length:
            fall = trend([row.score for row in rows])
            rise = trend([row.optimised + row.kl_coef * row.kl for row in rows])
            bound = NormalDist().inv_cdf(1 - bounds.trend_error)
            if fall < -bound and rise > bound:
                return (
                    f"Scores of fresh samples fall while the return that is optimised rises, over the last {length} "
                    f"updates (from {rows[0].score:.2f} to {rows[-1].score:.2f}): look for a flipped sign."
                )
        length //= 2
    return None


def lost_comparisons(evidence: Evidence, bounds: AndonHParams) -> str | None:
    """(c) The policy loses blind comparisons against its start."""
    found = evidence.blind
    if bounds.lost_error is None or not _below_half(found, bounds.lost_error):
        return None
    return (
        f"People prefer the reference: the policy they see won {found.hits} of {found.hits + found.misses} blind "
        f"comparisons against it. If it were as good, this or worse would come with probability "
        f"{_error(found):.1g} at most."
    )


def contradicting_labels(evidence: Evidence, bounds: AndonHParams) -> str | None:
    """(d) Fresh labels contradict the reward model beyond chance."""
    found = evidence.choices
    if bounds.contradiction_error is None or not _below_half(found, bounds.contradiction_error):
        return None
    return (
        f"Labels contradict the reward model: of {found.hits + found.misses} texts that people chose, {found.misses} "
        "stand in the lower half of its scores. Look for a flipped sign, or for labelers who answer another question."
    )


def outside_band(evidence: Evidence, bounds: AndonHParams) -> str | None:
    """(e) KL leaves its band."""
    rows = evidence.last[-bounds.band_updates :]
    if len(rows) < bounds.band_updates:
        return None
    kl = fmean(row.kl for row in rows)
    most = bounds.kl_most if evidence.kl_target is None else _times(evidence.kl_target, bounds.kl_factor)
    if most is not None and kl > most:
        return f"The KL from the reference is {kl:.1f} nats over the last {len(rows)} updates, its bound {most:.1f}."
    if bounds.kl_least is not None and kl < bounds.kl_least:
        return f"The KL is {kl:.1f} nats over the last {len(rows)} updates: sampling and training do not agree."
    return None


def collapsed_entropy(evidence: Evidence, bounds: AndonHParams) -> str | None:
    """(e) Entropy collapses."""
    rows, first = evidence.last[-bounds.band_updates :], evidence.first[: bounds.band_updates]
    if bounds.entropy_share is None or len(rows) < bounds.band_updates or len(first) < bounds.band_updates:
        return None
    now, then = fmean(row.entropy for row in rows), fmean(row.entropy for row in first)
    if now >= bounds.entropy_share * then:
        return None
    return f"The entropy fell from {then:.1f} to {now:.1f} nats per response: the policy says one thing only."


def invalid_samples(evidence: Evidence, bounds: AndonHParams) -> str | None:
    """(e) Samples that do not end in time pile up."""
    rows, first = evidence.last[-bounds.band_updates :], evidence.first[: bounds.band_updates]
    if bounds.valid_share is None or len(rows) < bounds.band_updates or len(first) < bounds.band_updates:
        return None
    episodes = evidence.batch * len(rows)
    valid, then = round(fmean(row.valid for row in rows) * episodes), fmean(row.valid for row in first)
    if wilson_interval(valid, episodes).high >= bounds.valid_share * then:
        return None
    return f"Only {valid} of the last {episodes} samples end in time; at the start {then:.0%} did."


def copied_sentences(evidence: Evidence, bounds: AndonHParams) -> str | None:
    """(f) The policy has become a copier."""
    if bounds.novel_share is None or evidence.novel is None:
        return None
    most, then = evidence.novel
    if most >= bounds.novel_share * then:
        return None
    return (
        f"The policy copies: at most {most:.0%} of its sentences do not stand in their source, of the reference's "
        f"{then:.0%}. Tell labelers what they should think of copying, and look at a few summaries."
    )


Detector = Callable[[Evidence, AndonHParams], str | None]
DETECTORS: dict[str, Detector] = {
    "falling scores": falling_scores,
    "lost comparisons": lost_comparisons,
    "contradicting labels": contradicting_labels,
    "KL outside its band": outside_band,
    "collapsed entropy": collapsed_entropy,
    "invalid samples": invalid_samples,
    "copied sentences": copied_sentences,
}


def trend(values: Sequence[float]) -> float:
    """Mann and Kendall's statistic: standard normal where the order of the values is random, positive where they rise.

    Source: Kendall 1975, Rank Correlation Methods, with continuity correction; ties are rare and not corrected for.
    """
    n = len(values)
    if not all(map(isfinite, values)):
        return 0.0
    score = sum((b > a) - (b < a) for i, a in enumerate(values) for b in values[i + 1 :])
    spread = sqrt(n * (n - 1) * (2 * n + 5) / 18)
    return (score - (score > 0) + (score < 0)) / spread if spread else 0.0


def _below_half(found: Tally, error: float) -> bool:
    return rejects(evidence_below(found.hits, found.misses, chance=0.5), error=error, attempt=found.attempt)


def _error(found: Tally) -> float:
    return min(1.0, exp(-evidence_below(found.hits, found.misses, chance=0.5)))


def _times(target: float, factor: float | None) -> float | None:
    return None if factor is None else target * factor
