"""Between text and token ids, whatever the tokenizer."""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from workers.nets.reading import first_line

PAD_ID = 0
"""Stands where a mask is False; any id would do, for it is never looked at nor trained on."""
ANCHOR = "a"
"""Stands before a token whose text is asked for."""
SAVE_ONE = "save the model's own into the folder with `save_pretrained`"


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a local folder. Raises: ValueError if there is none, or none that can be read."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers and tokenizers raise a dozen kinds
        raise ValueError(f"{folder}: no tokenizer can be read ({first_line(error)}); {SAVE_ONE}") from error
    if not token_ids(tokenizer, ANCHOR):  # what transformers makes up where the files are missing
        raise ValueError(f"{folder} has no tokenizer: {SAVE_ONE}")
    return tokenizer


def terminator_ids(
    tokenizer: PreTrainedTokenizerBase, text: str | None, *, match: Literal["ends", "exact"] = "ends", eos: bool = False
) -> list[int]:
    """Ids of the tokens that end a response, in rising order.

    Whether a response has ended must show in a single token. So `text` is ambiguous if the tokenizer may spread it
    over several: when it is longer than one character, or one character without a token of its own. The text of a
    special token, such as `<|endoftext|>`, is never ambiguous and gives that one id.

    Args:
        text: None gives no token.
        match: `ends`: every token whose text ends with `text`; `exact`: the one token that is `text`, whatever its
            length, as published.
        eos: the tokenizer's own end-of-text token too.
    Raises: ValueError if `text` is empty or ambiguous, or without such a token.
    """
    ids = set() if text is None else set(_exact(tokenizer, text) if match == "exact" else _ending(tokenizer, text))
    if eos:
        if tokenizer.eos_token_id is None:
            raise ValueError("this tokenizer has no end-of-text token: set eos_ends to false and give a terminator")
        ids.add(tokenizer.eos_token_id)
    return sorted(ids)


def exact_id(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    """The one token that is `text`, no more and no less. Raises: ValueError without such a token."""
    (found,) = _exact(tokenizer, text)
    return found


def token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """A text's tokens as they lie, no start or end token added."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def encode_queries(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], *, max_tokens: int, prefix: str = "", suffix: str = ""
) -> tuple[Tensor, Tensor]:
    """Token ids of prompts, left-padded to the longest.

    Args:
        texts: b prompts, none empty.
        max_tokens: longer prompts lose their beginning; a start token that the tokenizer puts first is kept.
        prefix, suffix: stand around each prompt, after the start token and beyond `max_tokens`. They have tokens of
            their own, so that the prompt's are the same with and without them.
    Returns: (b, q) int64 ids and (b, q) bool mask, True on real tokens, with q <= max_tokens + prefix + suffix.
    Raises: ValueError if there is no prompt, one has no tokens, or max_tokens leaves no room for any.
    """
    start = start_tokens(tokenizer)
    room = max_tokens - len(start)
    if room < 1 or not texts:
        raise ValueError(f"cannot encode {len(texts)} prompts into at most {max_tokens} tokens")
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
    if empty := [row for row, ids in enumerate(encoded) if not ids]:
        raise ValueError(f"prompts {empty} are empty: leave them out")
    before, after = start + token_ids(tokenizer, prefix), token_ids(tokenizer, suffix)
    return left_padded([before + ids[-room:] + after for ids in encoded])


def left_padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """(b, q) int64 ids and bool mask, True on real tokens; q is the longest row."""
    longest = max(map(len, rows))
    ids = torch.tensor([[PAD_ID] * (longest - len(row)) + row for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(longest) >= longest - lengths.unsqueeze(1)


def start_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the tokenizer puts before every text: one start token or nothing."""
    start = tokenizer.bos_token_id
    return [start] if start is not None and tokenizer("a")["input_ids"][:1] == [start] else []


def _ending(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    special = _special(tokenizer)
    if text in special:
        return [special[text]]
    _refuse_empty(text)
    if len(text) > 1:
        raise ValueError(
            f"the terminator {text!r} is ambiguous, for its characters may lie in different tokens: give one character "
            f"or one of the special tokens {', '.join(special)}"
        )
    texts = _texts(tokenizer)
    ends = [i for i, token in enumerate(texts) if token.endswith(text) and i not in special.values()]
    if not ends:
        raise ValueError(f"no token of this tokenizer ends with {text!r}: choose another terminator")
    if not any(texts[i].strip(" ") == text.strip(" ") for i in ends):
        raise ValueError(f"the terminator {text!r} is ambiguous, for it has no token of its own: choose another one")
    return ends


def _exact(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    special = _special(tokenizer)
    if text in special:
        return [special[text]]
    _refuse_empty(text)
    same = [i for i, token in enumerate(_texts(tokenizer)) if token == text and i not in special.values()]
    if len(same) > 1:  # a byte may have a second token that the tokenizer falls back on and never writes here
        written = token_ids(tokenizer, text) + token_ids(tokenizer, ANCHOR + text)
        same = [i for i in same if i in written]
    if len(same) != 1:
        raise ValueError(
            f"this tokenizer has {len(same) or 'no'} tokens that are exactly {text!r}: choose another text"
        )
    return same


def _refuse_empty(text: str) -> None:
    if not text:
        raise ValueError("the terminator is empty: give a character such as '.', or None for no terminator")


def _special(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    return dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))


def _texts(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Each token's text in the midst of others: some tokenizers drop the space before a text's first token."""
    anchor = token_ids(tokenizer, ANCHOR)
    alone = len(tokenizer.decode(anchor, clean_up_tokenization_spaces=False))
    rows = [[*anchor, i] for i in range(len(tokenizer))]
    return [text[alone:] for text in tokenizer.batch_decode(rows, clean_up_tokenization_spaces=False)]
