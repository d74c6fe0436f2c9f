"""Judges: numbers that say how good a continuation is, for evaluating without people."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from app.errors import InvalidError

Judge = Callable[[str, str], float]
"""Prompt and continuation to a number; higher is better."""


def load_judge(name: str) -> Judge:
    """`vader`, or `module:function`, the module importable or lying in the current folder.

    Raises: InvalidError if there is no such judge.
    """
    if name == "vader":
        return vader()
    module, separator, function = name.partition(":")
    if not separator:
        raise InvalidError(f"There is no judge {name!r}: give vader or module:function.")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InvalidError(f"Cannot use the judge {name}: {error}.") from error
    judge: Judge = found
    return judge


def vader() -> Judge:
    """Sentiment of the continuation alone, in [-1, 1]: VADER's compound score (Hutto and Gilbert 2014)."""
    analyzer = SentimentIntensityAnalyzer()
    return lambda _, text: float(analyzer.polarity_scores(text)["compound"])
