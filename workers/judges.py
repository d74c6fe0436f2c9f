"""Judges: numbers that say how good a continuation is, for evaluating without people."""

from collections.abc import Callable

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from app.errors import InvalidError
from app.rules import imported

Judge = Callable[[str, str], float]
"""Prompt and continuation to a number; higher is better."""


def load_judge(name: str) -> Judge:
    """`vader`, or `module:function`, the module importable or lying in the current folder.

    Raises: InvalidError if there is no such judge.
    """
    if name == "vader":
        return vader()
    if ":" not in name:
        raise InvalidError(f"There is no judge {name!r}: give vader or module:function.")
    judge: Judge = imported(name, "judge")
    return judge


def vader() -> Judge:
    """Sentiment of the continuation alone, in [-1, 1]: VADER's compound score (Hutto and Gilbert 2014)."""
    analyzer = SentimentIntensityAnalyzer()
    return lambda _, text: float(analyzer.polarity_scores(text)["compound"])
