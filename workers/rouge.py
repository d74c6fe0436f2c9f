"""ROUGE of summaries against what people wrote, by Google's rouge-score (stemmed, F1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

from rouge_score import rouge_scorer

KINDS = ("rouge1", "rouge2", "rougeL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rouge:
    """Means of F1 over summaries, in percent."""

    rouge1: float
    rouge2: float
    rouge_l: float

    @property
    def average(self) -> float:
        """Of the three, as the paper reports."""
        return (self.rouge1 + self.rouge2 + self.rouge_l) / 3


def rouge(references: Sequence[str], summaries: Sequence[str]) -> Rouge:
    """Raises: ValueError unless each summary has its reference."""
    if len(references) != len(summaries):
        raise ValueError(f"{len(summaries)} summaries, {len(references)} references")
    scorer = rouge_scorer.RougeScorer(KINDS, use_stemmer=True)
    found = [scorer.score(reference, text) for reference, text in zip(references, summaries, strict=True)]
    means = [100 * sum(one[kind].fmeasure for one in found) / len(found) if found else nan for kind in KINDS]
    return Rouge(rouge1=means[0], rouge2=means[1], rouge_l=means[2])
