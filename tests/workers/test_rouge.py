"""ROUGE, by hand."""

import pytest

from workers.rouge import rouge


def test_f1_of_words_bigrams_and_the_longest_common_subsequence() -> None:
    """Reference of 6 words, summary of 4: 3 words in common, bigrams the-cat alone, and the-cat-mat in order."""
    found = rouge(["the cat sat on the mat"], ["the cat ate mat"])
    assert found.rouge1 == pytest.approx(100 * 2 * (3 / 6) * (3 / 4) / (3 / 6 + 3 / 4))
    assert found.rouge2 == pytest.approx(100 * 2 * (1 / 5) * (1 / 3) / (1 / 5 + 1 / 3))
    assert found.rouge_l == pytest.approx(found.rouge1)
    assert found.average == pytest.approx((2 * found.rouge1 + found.rouge2) / 3)


def test_means_are_over_summaries_and_each_needs_its_reference() -> None:
    assert rouge(["one two", "three"], ["one two", "four"]).rouge1 == pytest.approx(50)
    with pytest.raises(ValueError, match="1 summaries, 2 references"):
        rouge(["a", "b"], ["a"])
