"""Terminators and query encoding with a byte-level tokenizer made on the spot."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from workers.nets.tokenizer import encode_queries, terminator_ids

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
