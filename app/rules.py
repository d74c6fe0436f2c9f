"""Rules with which machines judge texts: mock labelers for simulation, known rewards for experiments.

A *score* gives one text a number; a *rule* answers a comparison. Most rules are a score of which the highest is
picked, and equal bests are a tie.
"""

import importlib
import importlib.resources
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from app.errors import InvalidError

TIE = "tie"

Score = Callable[[str, str], float]
"""Prompt and text to a number; higher is better."""
Rule = Callable[[str, Sequence[str]], "int | str"]
"""Prompt and texts, in the order shown, to the index of the best or to `tie`."""


def load_rule(name: str) -> Rule:
    """The highest of a known score (`vader`, `descriptive`, `longest`), or `module:function`, which is a rule itself.

    Raises: InvalidError if there is no such rule.
    """
    if name in SCORES:
        return highest(SCORES[name]())
    rule: Rule = _imported_unless_known(name, "rule")
    return rule


def load_score(name: str) -> Score:
    """`vader`, `descriptive`, `longest`, or `module:function` from prompt and text to a number.

    Raises: InvalidError if there is no such score.
    """
    if name in SCORES:
        return SCORES[name]()
    score: Score = _imported_unless_known(name, "score")
    return score


def highest(score: Score) -> Rule:
    """The rule that picks the text with the highest score; `tie` where several share it."""

    def rule(prompt: str, texts: Sequence[str]) -> int | str:
        scores = [score(prompt, text) for text in texts]
        best = max(scores)
        return scores.index(best) if scores.count(best) == 1 else TIE

    return rule


def vader() -> Score:
    """Sentiment of the text alone, in [-1, 1]: VADER's compound score (Hutto and Gilbert 2014)."""
    analyzer = SentimentIntensityAnalyzer()
    return lambda _, text: float(analyzer.polarity_scores(text)["compound"])


def descriptive() -> Score:
    """How many different words of sight, sound, smell, taste and touch the text has."""
    content = importlib.resources.files("app").joinpath("data/descriptive_words.txt").read_text(encoding="utf-8")
    known = {word for line in content.splitlines() if not line.startswith("#") for word in line.split()}
    return lambda _, text: float(len(known & set(re.findall(r"[a-z]+(?:-[a-z]+)*", text.lower()))))


def longest() -> Score:
    """Characters of the text."""
    return lambda _, text: float(len(text))


SCORES: dict[str, Callable[[], Score]] = {"vader": vader, "descriptive": descriptive, "longest": longest}


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


def _imported_unless_known(name: str, what: str) -> Any:
    if ":" not in name:
        raise InvalidError(f"There is no {what} {name!r}: give {', '.join(SCORES)} or module:function.")
    return imported(name, what)
