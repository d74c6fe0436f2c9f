"""The last block, run for the tokens that somebody reads; the others lend it their keys and values and are done.

Of what a block of GPT-2 multiplies for a token three quarters come behind its keys and values.
"""

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from workers.nets.language_model import EnoughError, LanguageModel, causal_mask, parity_tolerance
from workers.nets.precision import exact, full_precision
from workers.rlhf.masks import position_ids


class _Lent(DynamicLayer):  # type: ignore[misc]
    """Keys and values of tokens that nobody reads: the block is left as soon as they are there."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        self.keys, self.values, self.is_initialized = key_states, value_states, True
        raise EnoughError


def last_states(model: LanguageModel, states: Tensor, attend: Tensor, positions: Tensor, *, read: int) -> Tensor:
    """Hidden states of the last tokens of each text after the final norm, from those before the last block.

    Args:
        states: (b, t, width) float.
        attend: (b, 1, t, t) bool; True where a token may look at another.
        positions: (b, t) int64.
        read: tokens, in [1, t].
    Returns: (b, read, width) float.
    """
    return last_states_kept(model, states, attend, positions, read=read)[0]


def last_states_kept(
    model: LanguageModel, states: Tensor, attend: Tensor, positions: Tensor, *, read: int
) -> tuple[Tensor, DynamicLayer]:
    """As `last_states`, with the last block's keys and values of all tokens."""
    rest = states.shape[1] - read
    layer = DynamicLayer()
    if rest:
        lent = _Lent()
        with suppress(EnoughError):
            _run(model, states[:, :rest], attend[:, :, :rest, :rest], positions[:, :rest], lent)
        layer.keys, layer.values, layer.is_initialized = lent.keys, lent.values, True
    return _run(model, states[:, rest:], attend[:, :, rest:], positions[:, rest:], layer), layer


def splits_last(model: LanguageModel) -> bool:
    """Whether `last_states` gives what the whole block gives; tried once, on a small text."""
    if model.splits_last is None:
        model.splits_last = _agrees(model)
    return model.splits_last


def _agrees(model: LanguageModel) -> bool:
    training = model.model.training
    model.model.eval()  # dropout would draw, and two passes would differ
    try:
        # Not in the precision of whoever asks first: bfloat16 rounds by more than a difference may be.
        with torch.no_grad(), exact(), full_precision(model.device):
            return _agrees_on(model, model.probe())
    finally:
        model.model.train(training)


def _agrees_on(model: LanguageModel, probe: Tensor) -> bool:
    mask = torch.ones_like(probe, dtype=torch.bool)
    attend, positions = causal_mask(mask), position_ids(mask)
    read = (probe.shape[1] + 1) // 2
    expected = model.hidden(probe, mask)[:, -read:]
    try:
        (states,) = model.hidden_layers(probe, mask, (model.num_layers - 1,))
        found = last_states(model, states, attend, positions, read=read)
    except Exception:  # in whatever way such an architecture fails
        return False
    return bool((found - expected).abs().max() <= parity_tolerance(expected.dtype) * expected.abs().max())


def _run(model: LanguageModel, states: Tensor, attend: Tensor, positions: Tensor, layer: DynamicLayer) -> Tensor:
    """The last block over a cache layer of its own; a cache has one for each block, and the others are not run."""
    cache = Cache(layers=[layer] * model.num_layers)
    return model.run_above(model.num_layers - 1, states, attend, positions, cache)
