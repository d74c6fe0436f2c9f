"""Copying of summaries, counted by hand."""

from itertools import combinations
from math import isnan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import copying

SOURCE = "Hey all. The old dog sat on the mat. It slept, and the cat sat on the mat too."


def test_sentences_end_at_marks_and_at_line_ends() -> None:
    assert copying.sentences('He said "no." Then he left!\nAfter that, v1.2 came?  ...') == [
        'He said "no."',
        "Then he left!",
        "After that, v1.2 came?",
    ]
    assert copying.lead(SOURCE, 2) == "Hey all. The old dog sat on the mat."


def test_the_lead_of_a_text_is_its_first_three_sentences() -> None:
    assert copying.lead("One. Two! Three? Four.") == "One. Two! Three?"
    headed = "A headline\nThen this. And that, 3.5 times. Last."
    assert copying.lead(headed) == "A headline Then this. And that, 3.5 times."
    assert copying.lead("no end") == "no end"


def test_a_sentence_is_copied_whatever_its_case_and_marks() -> None:
    assert not copying.sentence_is_novel(SOURCE, "the OLD dog sat on the mat")
    assert not copying.sentence_is_novel(SOURCE, "dog sat on")
    assert copying.sentence_is_novel(SOURCE, "The dog sat on the mat.")
    assert copying.sentence_is_novel("Carts roll.", "Cart")  # whole words


def test_the_counts_of_one_summary() -> None:
    found = copying.measure([(SOURCE, "The old dog sat on the mat. A bird sat too.")])
    assert (found.summaries, found.sentences, found.novel_sentences) == (1, 2, 0.5)
    # words: the old dog sat on the mat a bird sat too; 9 of 11 are in the source, not "a" and "bird"
    assert found.novel_grams[1] == pytest.approx(2 / 11)
    # bigrams: 10; not in the source: mat-a, a-bird, bird-sat, sat-too
    assert found.novel_grams[2] == pytest.approx(4 / 10)


def test_openings_count_with_and_without_preamble() -> None:
    pairs = [
        ("Hey all. So it is.", "hey all so much"),
        ("My dog ran off.", "My dog ran."),
        ("My dog ran off.", "A dog."),
    ]
    found = copying.measure(pairs)
    assert found.openings == pytest.approx(2 / 3)
    assert found.openings_after_preamble == 1.0
    assert copying.has_preamble("LONDON: The mayor")
    assert not copying.has_preamble("The mayor of all London: said")


def test_places_of_what_was_taken_from_a_source() -> None:
    source = "one two three four five"
    assert copying.positions(source, "one two") == [0.0]
    assert copying.positions(source, "four five") == [1.0]
    assert copying.positions(source, "one two three four five") == [0.0, 1 / 3, 2 / 3, 1.0]
    assert copying.positions(source, "six seven") == []


def test_nothing_has_no_shares() -> None:
    found = copying.measure([])
    assert found.summaries == 0
    assert isnan(found.novel_sentences)
    assert isnan(found.position)


@settings(max_examples=60, deadline=None)
@given(st.text("abc", max_size=7), st.text("abc", max_size=6))
def test_no_common_subsequence_is_longer(first: str, second: str) -> None:
    """The slow way: every choice of places in the second text, looked for in the first."""

    def within(part: str) -> bool:
        rest = iter(first)
        return all(letter in rest for letter in part)

    longest = max(n for n in range(len(second) + 1) for chosen in combinations(second, n) if within("".join(chosen)))
    places = copying._common(first, second)
    assert len(places) == longest
    assert places == sorted(set(places))
