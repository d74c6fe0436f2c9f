"""Sampling responses of a fixed length, exactly and fast.

Exactly: every token is drawn from softmax(logits / temperature) without top-k or top-p, an end-of-text token stops
nothing, and the log-probabilities are those of that distribution (Ziegler et al. 2019, section 2.1).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from workers.nets.language_model import FINAL, LanguageModel, causal_mask
from workers.rlhf.masks import position_ids
from workers.rlhf.types import TrunkStates


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """Sampled responses; rows i*k .. i*k + k - 1 answer query i."""

    tokens: Tensor
    """(n, r) int64."""
    logprobs: Tensor
    """(n, r) float32, nats, under softmax(logits / temperature)."""
    values: Tensor | None
    """(n, r) float32; what `read_value` made of the hidden state before each token; None without it."""
    trunk: TrunkStates | None = None
    """Of all n texts but their last tokens; None unless asked for."""


def generate(
    model: LanguageModel,
    queries: Tensor,
    query_mask: Tensor,
    *,
    response_tokens: int,
    temperature: float,
    generator: torch.Generator,
    samples_per_query: int = 1,
    read_value: Callable[[Tensor], Tensor] | None = None,
    keep_layer: int | None = None,
) -> Generated:
    """Sample `samples_per_query` responses to each query; the query is read once for all of them.

    Args:
        queries: (b, q) int64, left-padded.
        query_mask: (b, q) bool; True marks a real token.
        response_tokens: r, the length of every response.
        temperature: positive.
        generator: draws n * r uniform numbers, all at the start; on any device.
        read_value: (n, width) hidden states -> (n,) values.
        keep_layer: layer number whose hidden states are kept as they come up.
    Returns: n = b * samples_per_query responses, usable in later training.
    Raises: ValueError if the temperature or a count is not positive or q + r exceeds the model's context.
    """
    if temperature <= 0 or response_tokens < 1 or samples_per_query < 1:
        raise ValueError(
            f"temperature {temperature}, response_tokens {response_tokens} and samples_per_query {samples_per_query} "
            "must be positive"
        )
    n = queries.shape[0] * samples_per_query
    uniform = torch.rand(response_tokens, n, generator=generator, device=generator.device).to(queries.device)
    seen: dict[int, Tensor] = {}
    kept: list[Tensor] = []

    def keep() -> None:
        if keep_layer is not None:
            copies = n // seen[keep_layer].shape[0]
            kept.append(seen[keep_layer].repeat_interleave(copies, dim=0) if copies > 1 else seen[keep_layer])

    watched = nullcontext() if keep_layer is None else model.watching((keep_layer, FINAL), seen)
    # Not inference mode: there autocast would cast every weight anew for every token.
    with torch.inference_mode(False), torch.no_grad(), _casts_kept(model), watched:
        steps = _decode(model, queries, query_mask, uniform, temperature, samples_per_query, read_value, keep)
        tokens, logprobs, values = (torch.stack(column, dim=1) for column in zip(*steps, strict=True))
    trunk = None if keep_layer is None else TrunkStates(layer=keep_layer, states=torch.cat(kept, dim=1))
    return Generated(tokens=tokens, logprobs=logprobs, values=None if read_value is None else values, trunk=trunk)


def _decode(
    model: LanguageModel,
    queries: Tensor,
    query_mask: Tensor,
    uniform: Tensor,
    temperature: float,
    k: int,
    read_value: Callable[[Tensor], Tensor] | None,
    ran: Callable[[], None],
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Per token: (n,) token, (n,) log-probability and (n,) value; `ran` is called after each pass of the trunk."""
    r, q = uniform.shape[0], queries.shape[1]
    prefix = DynamicCache(config=model.model.config)
    hidden = model.run_trunk(queries, causal_mask(query_mask), position_ids(query_mask), prefix)
    ran()
    hidden = hidden[:, -1].repeat_interleave(k, dim=0)
    cache = Cache(layers=[_RoomyLayer(layer, k, r) for layer in prefix.layers])
    lengths = query_mask.sum(dim=1).repeat_interleave(k)
    seen = torch.nn.functional.pad(query_mask.repeat_interleave(k, dim=0), (0, r), value=True)[:, None, None]
    for t in range(r):
        token, logprob = sample(model.logits(hidden), temperature, uniform[t])
        yield token, logprob, logprob if read_value is None else read_value(hidden)
        if t + 1 < r:
            positions = (lengths + t).unsqueeze(1)
            hidden = model.run_trunk(token.unsqueeze(1), seen[..., : q + t + 1], positions, cache)[:, 0]
            ran()


def sample(logits: Tensor, temperature: float, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Draw one token per row by inverting the cumulative distribution.

    Several times faster on CPUs than torch.multinomial, which draws a number per token of the vocabulary.

    Args:
        logits: (n, v) float.
        temperature: positive.
        uniform: (n,) float32 in [0, 1).
    Returns: (n,) int64 tokens and (n,) float32 log-probabilities under softmax(logits / temperature).
    """
    probabilities = (logits.float() / temperature).softmax(dim=-1)
    cumulative = probabilities.cumsum(dim=-1)
    # Scaled by the last sum, which rounding keeps from being 1; strictly above, so that no impossible token is drawn.
    target = (uniform * cumulative[:, -1]).unsqueeze(1)
    tokens = torch.searchsorted(cumulative, target, right=True).clamp_(max=logits.shape[-1] - 1)
    return tokens.squeeze(1), probabilities.gather(1, tokens).log().squeeze(1)


class _RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one block with room for all tokens to come, so that a step copies only its own."""

    def __init__(self, prefix: Any, copies: int, room: int) -> None:
        super().__init__()
        self.used: int = prefix.keys.shape[-2]
        self.dtype, self.device, self.is_initialized = prefix.keys.dtype, prefix.keys.device, True
        self.keys = self._with_room(prefix.keys, copies, room)
        self.values = self._with_room(prefix.values, copies, room)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        start, self.used = self.used, self.used + key_states.shape[-2]
        self.keys[..., start : self.used, :] = key_states
        self.values[..., start : self.used, :] = value_states
        return self.keys[..., : self.used, :], self.values[..., : self.used, :]

    def get_seq_length(self) -> int:
        return self.used

    @staticmethod
    def _with_room(prefix: Tensor, copies: int, room: int) -> Tensor:
        b, heads, q, d = prefix.shape
        roomy = prefix.new_empty(b, copies, heads, q + room, d)
        roomy[..., :q, :] = prefix.unsqueeze(1)
        return roomy.view(b * copies, heads, q + room, d)


@contextmanager
def _casts_kept(model: LanguageModel) -> Iterator[None]:
    """Let autocast cast every weight once for all steps: it keeps the casts only of weights that want gradients."""
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
