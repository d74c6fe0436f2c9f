"""Queries cut from longer texts, worked by hand on letters: each letter is a token, and so is the period."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from app.hparams import TaskHParams
from workers.queries import build_prompts, build_query

LETTERS = "<abcdefghij.\n"


def letters(*, start: bool = False) -> PreTrainedTokenizerBase:
    """One token per letter; with `start`, `<` comes first."""
    backend = Tokenizer(models.BPE({letter: i for i, letter in enumerate(LETTERS.replace("\n", "Ċ"))}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    if start:
        backend.post_processor = processors.TemplateProcessing(single="< $A", special_tokens=[("<", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<")


def query(text: str, *, start: str | None = ".", end: str | None = ".", least: int = 1, most: int = 6) -> str | None:
    task = TaskHParams(question="?", query_tokens=most, min_query_tokens=least, query_start=start, query_end=end)
    ids = build_query(letters(), text, task)
    return None if ids is None else "".join(LETTERS[i] for i in ids)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ab.cd.ef", "cd."),  # from after the first period to the last one
        ("ab.cd.e.fg", "cd.e."),
        ("ab.cdefgh.ij", None),  # no period among the six tokens after the first
        ("ab.cdefg.ij", "cdefg."),  # the sixth token is one
        ("ab.c.defghi.", "c."),  # the beginning is kept
        ("abcd", None),  # nowhere to start
        ("ab.", "ab."),  # nothing would follow, so it is left whole
        ("ab.cd", None),  # nowhere to end
        (".", "."),
        ("", None),
    ],
)
def test_a_query_starts_after_the_first_period_and_ends_at_the_last(text: str, expected: str | None) -> None:
    assert query(text) == expected


def test_without_edges_the_beginning_is_the_query() -> None:
    assert query("abcdefgh", start=None, end=None) == "abcdef"
    assert query("abc.defg", start=None) == "abc."
    assert query("a.bcdefgh", end=None) == "bcdefg"


def test_start_and_end_may_differ() -> None:
    assert query("a.b\nc.d\ne", start="\n", end=".", most=9) == "c."


def test_short_queries_are_none() -> None:
    assert query("ab.cd.", least=3) == "cd."
    assert query("ab.cd.", least=4) is None


def test_room_is_left_for_a_start_token() -> None:
    task = TaskHParams(question="?", query_tokens=4)
    assert build_query(letters(start=True), "abcdef", task) == [1, 2, 3]


def test_an_edge_that_is_no_token_is_refused() -> None:
    with pytest.raises(ValueError, match="no tokens that are exactly"):
        query("ab", start="ab")


def test_prompts_come_with_the_number_of_texts_that_gave_none() -> None:
    task = TaskHParams(question="?", query_tokens=6, query_end="\n")
    built = build_prompts(iter(["ab\ncd", "abc", "\n", "j\ni\nabcdefg"]), letters(), task)
    assert built.texts == ["ab\n", "j\ni\n"]
    assert built.skipped == 2
