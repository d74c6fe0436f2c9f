"""Between text and token ids, whatever the tokenizer."""

from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

PAD_ID = 0
"""Stands where a mask is False; any id would do, for it is never looked at nor trained on."""


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a local folder."""
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def terminator_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of the tokens that end a response: every token whose text ends with `text`, in rising order.

    Whether a response has ended must show in a single token. So `text` is ambiguous if the tokenizer may spread it
    over several: when it is longer than one character, or one character without a token of its own. The text of a
    special token, such as `<|endoftext|>`, is never ambiguous and gives that one id.

    Raises: ValueError if `text` is empty or ambiguous, or if no token ends with it.
    """
    special = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
    if text in special:
        return [special[text]]
    if not text:
        raise ValueError("the terminator is empty: give a character such as '.', or None for no terminator")
    if len(text) > 1:
        raise ValueError(
            f"the terminator {text!r} is ambiguous, for its characters may lie in different tokens: give one character "
            f"or one of the special tokens {', '.join(special)}"
        )
    texts = tokenizer.batch_decode([[i] for i in range(len(tokenizer))], clean_up_tokenization_spaces=False)
    ends = [i for i, token in enumerate(texts) if token.endswith(text) and i not in special.values()]
    if not ends:
        raise ValueError(f"no token of this tokenizer ends with {text!r}: choose another terminator")
    if not any(texts[i].strip(" ") == text.strip(" ") for i in ends):
        raise ValueError(f"the terminator {text!r} is ambiguous, for it has no token of its own: choose another one")
    return ends


def encode_queries(tokenizer: PreTrainedTokenizerBase, texts: list[str], *, max_tokens: int) -> tuple[Tensor, Tensor]:
    """Token ids of prompts, left-padded to the longest.

    Args:
        texts: b prompts, none empty.
        max_tokens: longer prompts lose their beginning; a start token that the tokenizer puts first is kept.
    Returns: (b, q) int64 ids and (b, q) bool mask, True on real tokens, with q <= max_tokens.
    Raises: ValueError if there is no prompt, one has no tokens, or max_tokens leaves no room for any.
    """
    start = _start_tokens(tokenizer)
    room = max_tokens - len(start)
    if room < 1 or not texts:
        raise ValueError(f"cannot encode {len(texts)} prompts into at most {max_tokens} tokens")
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
    if empty := [row for row, ids in enumerate(encoded) if not ids]:
        raise ValueError(f"prompts {empty} are empty: leave them out")
    rows = [start + ids[-room:] for ids in encoded]
    longest = max(map(len, rows))
    ids = torch.tensor([[PAD_ID] * (longest - len(row)) + row for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(longest) >= longest - lengths.unsqueeze(1)


def _start_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    start = tokenizer.bos_token_id
    return [start] if start is not None and tokenizer("a")["input_ids"][:1] == [start] else []
