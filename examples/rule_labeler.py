"""Label by a rule of your own: prefloop simulate --rule examples.rule_labeler:calmest

A rule gets the prompt and the texts in the order shown; it answers with the index of the best, or with "tie".
"""

from collections.abc import Sequence


def calmest(prompt: str, texts: Sequence[str]) -> int | str:
    """The text with the fewest exclamation marks, fewer than the prompt's or not, unless several have as few."""
    marks = [text.count("!") - prompt.count("!") for text in texts]
    return "tie" if marks.count(min(marks)) > 1 else marks.index(min(marks))
