"""Truths about the committed story openings."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

PATH = Path(__file__).parents[2] / "app" / "data" / "stories.jsonl"


@pytest.fixture(scope="module")
def texts() -> list[str]:
    lines = [json.loads(line) for line in PATH.read_text(encoding="utf-8").splitlines()]
    assert all(line.keys() == {"text"} for line in lines)
    return [line["text"] for line in lines]


def place(text: str) -> float:
    """Where the text falls in [0, 1): below 0.15 it is a test prompt."""
    normalised = " ".join(text.casefold().split())
    return int(hashlib.sha256(normalised.encode("utf-8")).hexdigest()[:8], 16) / 2**32


def test_enough_distinct_openings(texts: list[str]) -> None:
    assert len(texts) >= 3000
    assert len({" ".join(text.casefold().split()) for text in texts}) == len(texts)


def test_enough_of_them_are_test_prompts(texts: list[str]) -> None:
    assert sum(place(text) < 0.15 for text in texts) >= 500
    assert sum(0.15 <= place(text) < 0.25 for text in texts) >= 250


def test_plain_english_that_ends_at_a_period(texts: list[str]) -> None:
    for text in texts:
        assert re.fullmatch(r"[A-Z\"][A-Za-z0-9 ,.;:'\"?!-]+[A-Za-z0-9\"]\.", text), text
        assert text.count('"') % 2 == 0, text


def test_lengths_of_a_query(texts: list[str]) -> None:
    lengths = [len(text.split()) for text in texts]
    assert min(lengths) >= 22  # 32 tokens and more: a token is at most a word or mark of this plain English, mostly
    assert max(lengths) <= 60


def test_neither_side_of_sentiment_prevails(texts: list[str]) -> None:
    vader = SentimentIntensityAnalyzer()
    scores = [vader.polarity_scores(text)["compound"] for text in texts]
    assert max(map(abs, scores)) <= 0.6
    assert abs(sum(scores) / len(scores)) < 0.1


def test_no_beginning_is_worn_out(texts: list[str]) -> None:
    beginnings = [tuple(re.findall(r"[a-z0-9']+", text.casefold())[:6]) for text in texts]
    assert max(map(beginnings.count, set(beginnings))) <= 3
