"""The articles that stand in for a news data set: different, the same by seed, not summed up by their opening."""

import pytest

from app.copying import lead, sentence_is_novel
from scripts.make_articles import articles


def test_the_same_seed_writes_the_same_articles() -> None:
    made = list(articles(80, 1))
    assert made == list(articles(80, 1))
    assert made != list(articles(80, 2))
    assert len({one["article"] for one in made}) == len({one["summary"] for one in made}) == 80


def test_the_summary_is_neither_copied_nor_in_the_opening() -> None:
    for one in articles(40, 3):
        assert sentence_is_novel(one["article"], one["summary"])
        reason = one["summary"].split(" because ")[1]
        assert reason in one["article"]
        assert reason not in lead(one["article"])


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="There are 128 articles"):
        list(articles(129, 1))
