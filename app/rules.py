"""Rules that choose the best of four texts.

A rule takes the prompt and the texts in the order shown and returns the index of its choice, or `"tie"`. Of texts it
likes equally it takes the first: the order shown is random, so no text gains by that.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from app.errors import InvalidError

TIE = "tie"

Rule = Callable[[str, Sequence[str]], "int | str"]


def load_rule(name: str) -> Rule:
    """`vader`, `longest`, or `module:function`, the module importable or lying in the current folder.

    Raises: InvalidError if there is no such rule.
    """
    if name == "vader":
        return vader()
    if name == "longest":
        return longest
    if ":" not in name:
        raise InvalidError(f"There is no rule {name!r}: give vader, longest or module:function.")
    rule: Rule = imported(name, "rule")
    return rule


def longest(_: str, texts: Sequence[str]) -> int:
    """The text with the most characters."""
    return max(range(len(texts)), key=lambda place: len(texts[place]))


def vader() -> Rule:
    """The text of the most positive sentiment, by the compound score of VADER (Hutto and Gilbert 2014)."""
    analyzer = SentimentIntensityAnalyzer()

    def rule(_: str, texts: Sequence[str]) -> int:
        scores = [float(analyzer.polarity_scores(text)["compound"]) for text in texts]
        return scores.index(max(scores))

    return rule


def imported(name: str, what: str) -> Any:
    """The function that `module:function` names, the module importable or lying in the current folder.

    Raises: InvalidError, naming `what` was asked for, if there is no such function.
    """
    module, _, function = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InvalidError(f"Cannot use the {what} {name}: {error}.") from error
    if not callable(found):
        raise InvalidError(f"{name} is not a function.")
    return found
