"""What votes say, by hand."""

from math import log
from random import Random

import pytest

from app.votes import Item, Vote, agreement, at_equal_length, log_ratio, win_rate


def item(*votes: Vote, ratio: float = 0.0) -> Item:
    """Votes of Ada, Bob, Cleo ... in order."""
    return Item(votes=dict(zip(("Ada", "Bob", "Cleo", "Dan"), votes, strict=False)), log_length_ratio=ratio)


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        (("left", "left", "right"), "left"),
        (("right", "tie", "right"), "right"),
        (("left", "right", "tie"), "tie"),
        (("left", "right"), "tie"),
        (("tie", "tie", "left"), "tie"),
        (("right",), "right"),
    ],
)
def test_the_majority_is_what_most_said(votes: tuple[Vote, ...], expected: Vote) -> None:
    assert item(*votes).majority == expected


def test_a_tie_is_half_a_win() -> None:
    found = win_rate([item("left"), item("right"), item("left"), item("tie")])
    assert found is not None
    assert (found.mean, found.n) == (0.625, 4)
    assert found.low < 0.625 < found.high
    assert win_rate([item("left")]) is None


def test_agreement_counts_pairs() -> None:
    # Ada and Bob agree on both, Cleo with nobody; pairs: 3 of the first item, 1 of the second.
    found = agreement([item("left", "left", "right"), item("tie", "tie")])
    assert found == {"": (0.5, 4), "Ada": (2 / 3, 3), "Bob": (2 / 3, 3), "Cleo": (0.0, 2)}


def test_at_equal_length_takes_away_what_length_decides() -> None:
    """People who choose the longer text alone, and texts of the left side that are longer in three of four."""
    random = Random(1)
    items = []
    for number in range(400):
        ratio = 0.5 if number % 4 else -0.5
        wins = random.random() < (0.9 if ratio > 0 else 0.1)
        items.append(item("left" if wins else "right", ratio=ratio))
    plain = win_rate(items)
    fair = at_equal_length(items)
    assert plain is not None
    assert fair is not None
    assert plain.mean > 0.65
    assert fair == pytest.approx(0.5, abs=0.06)


def test_without_differences_in_length_it_is_the_share_of_votes() -> None:
    fair = at_equal_length([item("left")] * 30 + [item("right")] * 10 + [item("tie")] * 5)
    assert fair == pytest.approx(0.75, abs=0.01)
    assert at_equal_length([item("tie")] * 5) is None


def test_length_is_that_of_the_mean_text() -> None:
    assert log_ratio(["ab", "abcd"], ["abc"]) == 0
    assert log_ratio(["a" * 20], ["a" * 10]) == pytest.approx(log(2))
    assert log_ratio([""], ["a"]) == 0
