"""Rules and scores by name."""

import pytest

from app.errors import InvalidError
from app.rules import TIE, highest, load_rule, load_score


def last(_: str, texts: list[str]) -> int:
    """A rule of the user's."""
    return len(texts) - 1


@pytest.mark.parametrize(
    ("name", "texts", "best"),
    [
        ("vader", ["I hate it.", "It is a table.", "I love it!", "Who knows."], 2),
        ("longest", ["a", "bbb", "cc", ""], 1),
        ("descriptive", ["He went home.", "A mossy red gate creaked: creaking, rusty.", "The red door."], 1),
        ("tests.app.test_rules:last", ["a", "b", "c"], 2),
    ],
)
def test_a_rule_picks_the_best(name: str, texts: list[str], best: int) -> None:
    assert load_rule(name)("", texts) == best


def test_equal_bests_are_a_tie() -> None:
    assert load_rule("longest")("", ["aa", "b", "cc", ""]) == TIE
    assert load_rule("longest")("", ["aa", "b", "b", ""]) == 0


def test_what_is_described_counts_once_and_whole_words_only() -> None:
    score = load_score("descriptive")
    assert score("a red prompt", "Red, red wine; a wide-eyed, soft cat in Redmond.") == 3
    assert score("", "It was.") == 0


def test_any_score_makes_a_rule() -> None:
    assert highest(lambda prompt, text: float(text in prompt))("one two", ["x", "two", "y"]) == 1


@pytest.mark.parametrize("load", [load_rule, load_score])
@pytest.mark.parametrize("name", ["none", "no_such_module:f", "tests.tiny:no_such_function", "tests.tiny:END"])
def test_what_does_not_exist_is_refused(load: object, name: str) -> None:
    assert callable(load)
    with pytest.raises(InvalidError):
        load(name)
