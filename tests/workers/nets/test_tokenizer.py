"""Terminators and query encoding with a byte-level tokenizer made on the spot."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from workers.nets.tokenizer import PAD_ID, encode_queries, exact_id, terminator_ids

MERGES = [("a", "."), (".", "."), ("Ġ", "."), ("Ċ", "Ċ")]
VOCABULARY = ["<end>", "a", "b", ".", "Ġ", "Ċ", "a.", "..", "Ġ.", "ĊĊ", "Â", "°", ".b", "aÂ°"]


def make(*, start: bool = False) -> PreTrainedTokenizerBase:
    """Letters, byte pairs of `°`, and a few merges with a period."""
    backend = Tokenizer(models.BPE({token: i for i, token in enumerate(VOCABULARY)}, MERGES))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    if start:
        backend.post_processor = processors.TemplateProcessing(single="<end> $A", special_tokens=[("<end>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", bos_token="<end>")


def test_every_token_that_ends_with_the_text_is_a_terminator() -> None:
    assert [VOCABULARY[i] for i in terminator_ids(make(), ".")] == [".", "a.", "..", "Ġ."]


def test_a_newline_is_a_text_too() -> None:
    assert [VOCABULARY[i] for i in terminator_ids(make(), "\n")] == ["Ċ", "ĊĊ"]


def test_a_special_token_is_itself() -> None:
    assert terminator_ids(make(), "<end>") == [0]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("\n\n", "is ambiguous.*<end>"),
        ("!", "no token of this"),
        ("°", "no token of its own"),
        (">", "no token"),
    ],
)
def test_texts_that_do_not_show_in_one_token_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        terminator_ids(make(), text)


def test_queries_are_left_padded_and_lose_their_beginning() -> None:
    ids, mask = encode_queries(make(), ["b", "abab", "bb."], max_tokens=3)
    assert ids[mask].tolist() == [2, 2, 1, 2, 2, 2, 3]
    assert mask.tolist() == [[False, False, True], [True] * 3, [True] * 3]
    assert ids.dtype == torch.int64


def test_queries_are_no_wider_than_the_longest() -> None:
    assert encode_queries(make(), ["b", "ab"], max_tokens=9)[0].shape == (2, 2)


def test_a_start_token_is_kept() -> None:
    ids, mask = encode_queries(make(start=True), ["abab", "b"], max_tokens=3)
    assert ids.tolist()[0] == [0, 1, 2]
    assert mask.tolist()[1] == [False, True, True]


@pytest.mark.parametrize("texts", [[], ["a", ""]])
def test_nothing_cannot_be_encoded(texts: list[str]) -> None:
    with pytest.raises(ValueError, match=r"cannot encode 0 prompts|prompts \[1\] are empty"):
        encode_queries(make(), texts, max_tokens=4)


def test_no_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 1 tokens"):
        encode_queries(make(start=True), ["a"], max_tokens=1)


def test_exactly_one_token_is_the_text() -> None:
    assert [VOCABULARY[i] for i in terminator_ids(make(), ".", match="exact")] == ["."]
    assert [VOCABULARY[i] for i in terminator_ids(make(), "\n", match="exact")] == ["Ċ"]
    assert VOCABULARY[exact_id(make(), "\n\n")] == "ĊĊ"  # as a whole it lies in one token
    assert terminator_ids(make(), "<end>", match="exact") == [0]


@pytest.mark.parametrize("text", ["", "!", "°", ".\n"])
def test_a_text_without_a_token_of_its_own_has_no_exact_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"is empty|no tokens that are exactly"):
        terminator_ids(make(), text, match="exact")


def test_a_byte_token_beside_the_written_one_does_not_make_it_ambiguous() -> None:
    vocabulary = {"<unk>": 0, "a": 1, ".": 2, "<0x2E>": 3, "▁a": 4, "▁.": 5}
    backend = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    assert terminator_ids(tokenizer, ".", match="exact") == [2]
    assert terminator_ids(tokenizer, ".") == [2, 3, 5]


def test_a_space_that_is_dropped_at_the_beginning_of_a_text_counts() -> None:
    vocabulary = {"<unk>": 0, "▁a": 1, "▁.": 2, ".": 3}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    assert tokenizer.decode([2]) == "."  # alone it looks the same
    assert terminator_ids(tokenizer, ".", match="exact") == [3]


def test_the_end_of_text_token_may_end_a_sample_too_or_alone() -> None:
    assert [VOCABULARY[i] for i in terminator_ids(make(), ".", match="exact", eos=True)] == ["<end>", "."]
    assert terminator_ids(make(), None, eos=True) == [0]
    assert terminator_ids(make(), None) == []


def test_without_an_end_of_text_token_it_cannot_end_a_sample() -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
    with pytest.raises(ValueError, match="no end-of-text token"):
        terminator_ids(bare, None, eos=True)


def test_prefix_and_suffix_stand_around_the_cut_query_and_leave_its_tokens_alone() -> None:
    tokenizer = make(start=True)
    plain, _ = encode_queries(tokenizer, ["bab", "b"], max_tokens=3)
    ids, mask = encode_queries(tokenizer, ["bab", "b"], max_tokens=3, prefix="ba", suffix=".")
    assert plain.tolist() == [[0, 1, 2], [PAD_ID, 0, 2]]
    # joined, "a" and "." would be one token, and so would "." and "." at a query that ends with a period
    assert ids.tolist() == [[0, 2, 1, 1, 2, 3], [PAD_ID, 0, 2, 1, 2, 3]]
    assert mask.tolist() == [[True] * 6, [False, *[True] * 5]]
    joined, _ = encode_queries(tokenizer, ["ba"], max_tokens=3, suffix=".")
    assert joined.tolist() == [[0, 2, 1, 3]]
