"""Samples read again by the reference: how likely it finds each token, and where that token stands in the text."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch

from app.hparams import TaskHParams
from workers.nets.tokenizer import PAD_ID
from workers.references import Reference
from workers.sampler import Decoder

ROWS = 32
"""Samples read at once."""


class Reading(NamedTuple):
    """One sample under the reference."""

    logprobs: list[float]
    """Of each token, in nats at the task's temperature."""
    ends: list[int]
    """Where each token ends in the text, in characters, never falling."""


def read(
    reference: Reference,
    samples: Sequence[tuple[str, Sequence[int]]],
    task: TaskHParams,
    context: AbstractContextManager[object],
) -> list[Reading]:
    """Readings of samples, each a prompt and its token ids, at least one.

    Args:
        context: decides in which precision products are computed.
    """
    found: list[Reading] = []
    with torch.inference_mode(), context:
        for start in range(0, len(samples), ROWS):
            batch = samples[start : start + ROWS]
            queries, mask = reference.encode([prompt for prompt, _ in batch], task)
            longest = max(len(ids) for _, ids in batch)
            padded = [[*ids, *[PAD_ID] * (longest - len(ids))] for _, ids in batch]  # what follows changes nothing
            responses = torch.tensor(padded, device=queries.device)
            nats = reference.policy(queries, mask, responses, temperature=task.temperature).logprobs.float().tolist()
            found += [
                Reading(row[: len(ids)], token_ends(reference.tokenizer, list(ids)))
                for row, (_, ids) in zip(nats, batch, strict=True)
            ]
    return found


def token_ends(decoder: Decoder, ids: list[int]) -> list[int]:
    """How many characters of the text of `ids` are there after each token.

    A character that several tokens make together is there with the last of them.
    """
    texts = [
        decoder.decode(ids[: i + 1], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for i in range(len(ids))
    ]
    whole, ends = texts[-1], [0]
    for text in texts:
        shared = next((i for i, (one, other) in enumerate(zip(text, whole, strict=False)) if one != other), None)
        ends.append(max(ends[-1], min(len(text), len(whole)) if shared is None else shared))
    return ends[1:]
