"""What a record of each published form of labels says, and what is wrong with bad ones."""

from typing import Any

import pytest

from app.kinds import Verdict
from workers.label_rows import PUBLISHED_PAD, parse

IDS = {
    "query": [5, 6, PUBLISHED_PAD],
    "sample0": [1, 2],
    "sample1": [3, PUBLISHED_PAD],
    "sample2": [1, 2],
    "sample3": [4, 4],
    "best": 3,
}
SUMMARIES: dict[str, Any] = {
    "info": {"id": "t3_1", "post": "A long post.", "title": "Help", "subreddit": "tifu"},
    "summaries": [
        {"text": " Short.", "policy": "sup1", "note": "n"},
        {"text": " Long.", "policy": "ref", "note": None},
    ],
    "choice": 1,
    "worker": "w1",
    "batch": "batch9",
    "split": "valid1",
    "extra": {"confidence": 8},
}
PAIR = {"prompt": "p", "chosen": "c", "rejected": "r"}


def test_published_ids_lose_their_padding() -> None:
    row = parse(IDS | {"when": 7})
    assert (row.prompt, row.samples, row.best) == ((5, 6), ((1, 2), (3,), (1, 2), (4, 4)), 3)
    assert row.kept == {"form": "ids", "lengths": {"query": 3, "sample": 2}, "extra": {"when": 7}}


def test_four_identical_samples_are_kept_as_a_tie_that_teaches_nothing() -> None:
    row = parse(IDS | {f"sample{n}": [1, 2] for n in range(4)})
    assert (row.verdict, row.best, row.kept["best"]) == (Verdict.TIE, None, 3)


def test_a_summary_comparison_brings_who_how_sure_and_what_for() -> None:
    row = parse(SUMMARIES)
    assert (row.prompt, row.samples, row.best) == ("A long post.", (" Short.", " Long."), 1)
    assert (row.worker, row.policies, row.holdout) == ("w1", ("sup1", "ref"), True)
    assert row.info == {"id": "t3_1", "title": "Help", "subreddit": "tifu"}


@pytest.mark.parametrize(("confidence", "strength"), [(1, 4), (4, 1), (5, None), (8, 3), (9, 4)])
def test_strength_is_the_distance_from_the_middle_of_the_published_scale(confidence: int, strength: int | None) -> None:
    assert parse(SUMMARIES | {"extra": {"confidence": confidence}}).strength == strength


def test_a_news_comparison_has_its_article() -> None:
    info = {"article": "News.", "id": "x"}
    assert parse(SUMMARIES | {"info": info, "split": "train", "extra": {}}).prompt == "News."


def test_a_pair_chooses_its_first_and_equal_texts_are_a_tie() -> None:
    assert (parse(PAIR).samples, parse(PAIR).best) == (("c", "r"), 0)
    assert parse(PAIR | {"rejected": "c"}).verdict == Verdict.TIE


@pytest.mark.parametrize(
    ("record", "cause"),
    [
        ([1], "it is list, not an object"),
        ({"a": 1}, "no known form of a label has just these keys: a"),
        (IDS | {"best": 4}, "`best` is 4, but there are samples 0 to 3"),
        (IDS | {"best": True}, "`best` is True"),
        (IDS | {"query": [5, PUBLISHED_PAD, 6]}, "`query` has padding before its end"),
        (IDS | {"sample1": []}, "`sample1` is empty"),
        (IDS | {"sample1": [1, "2"]}, "`sample1` is no list of token ids"),
        ({k: v for k, v in IDS.items() if k != "sample1"}, "two samples or more"),
        (SUMMARIES | {"extra": {"confidence": 11}}, "`confidence` is 11"),
        (SUMMARIES | {"info": {"id": "x"}}, "`post` is no text"),
        ({"info": {}, "summary": {"text": "t", "axes": {}}, "split": "test"}, "rates one summary along axes"),
        (PAIR | {"chosen": [{"role": "user"}]}, "`chosen` is a conversation or list"),
        (PAIR | {"prompt": "a\0b"}, "NUL"),
        ({"prompt": "p", "samples": ["a"], "best": 0}, "no list of two or more"),
    ],
)
def test_what_is_wrong_is_said(record: Any, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        parse(record)
