"""Sampling responses of a fixed length, exactly and fast.

Exactly: every token is drawn from softmax(logits / temperature) without top-k or top-p, an end-of-text token stops
nothing, and the log-probabilities are those of that distribution (Ziegler et al. 2019, section 2.1).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache

from workers.nets.compiling import cast_ahead, compiles_sampling
from workers.nets.decoding import Decoding, QueryLayer
from workers.nets.language_model import FINAL, LanguageModel, causal_mask
from workers.nets.last_block import last_states_kept, splits_last
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
    kept: tuple[TrunkStates, ...] = ()
    """Of all n texts, one for each layer that was asked for, in that order."""


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
    keep_layers: Sequence[int] = (),
    keep_last: bool = False,
    within: tuple[int, int] | None = None,
) -> Generated:
    """Sample `samples_per_query` responses to each query; the query is read once for all of them.

    Args:
        queries: (b, q) int64, left-padded.
        query_mask: (b, q) bool; True marks a real token.
        response_tokens: r, the length of every response.
        temperature: positive.
        generator: draws n * r uniform numbers, all at the start; on any device.
        read_value: (n, width) hidden states -> (n,) values.
        keep_layers: layer numbers whose hidden states are kept as they come up.
        keep_last: also those of the last token, from which nothing is predicted.
        within: (first, rows): these are rows `first` and on of a batch of so many responses, and write what they
            would write there.
    Returns: n = b * samples_per_query responses, usable in later training.
    Raises: ValueError if the temperature or a count is not positive or q + r exceeds the model's context.
    """
    if temperature <= 0 or response_tokens < 1 or samples_per_query < 1:
        raise ValueError(
            f"temperature {temperature}, response_tokens {response_tokens} and samples_per_query {samples_per_query} "
            "must be positive"
        )
    n = queries.shape[0] * samples_per_query
    first, rows = within or (0, n)
    drawn = torch.rand(response_tokens, rows, generator=generator, device=generator.device)
    uniform = drawn[:, first : first + n].to(queries.device)
    room = response_tokens - (0 if keep_last else 1)
    seen: dict[int, Tensor] = {}
    watched = model.watching((*keep_layers, FINAL), seen) if keep_layers else nullcontext()
    # Not inference mode: there autocast would cast every weight anew for every token.
    with torch.inference_mode(False), torch.no_grad(), _casts_kept(model), cast_ahead(model), watched:
        prefix = Cache(layers=[QueryLayer() for _ in range(model.num_layers)])
        hidden, below = _read_queries(model, queries, query_mask, prefix, keep_layers, seen)
        kept = [TrunkStates(layer=n, states=_with_room(below[n], samples_per_query, room)) for n in keep_layers]

        def keep(place: Tensor) -> None:
            for one in kept:
                one.states.index_copy_(1, place, seen[one.layer])

        decoding = Decoding(
            model,
            prefix,
            hidden,
            query_mask,
            uniform=uniform,
            temperature=temperature,
            read_value=read_value,
            room=room,
            ran=keep,
        )
        decoding.run()
    return Generated(
        tokens=decoding.tokens,
        logprobs=decoding.logprobs,
        values=None if read_value is None else decoding.values,
        kept=tuple(kept),
    )


def _read_queries(
    model: LanguageModel,
    queries: Tensor,
    query_mask: Tensor,
    prefix: Cache,
    layers: Sequence[int],
    seen: dict[int, Tensor],
) -> tuple[Tensor, dict[int, Tensor]]:
    """(b, width) hidden states of the last tokens, and what was `seen` at these layers; fills `prefix`."""
    attend, positions = causal_mask(query_mask), position_ids(query_mask)

    def run() -> Tensor:
        return model.run_trunk(queries, attend, positions, prefix)

    if compiles_sampling(model) or not splits_last(model):  # what is compiled is the same for all blocks
        hidden = run()
        return hidden[:, -1], dict(seen)
    states = model.until(model.num_layers - 1, run)
    below = {layer: seen[layer] for layer in layers}  # before the last block is run in parts
    hidden, prefix.layers[-1] = last_states_kept(model, states, attend, positions, read=1)
    return hidden[:, 0], below


def _with_room(states: Tensor, copies: int, room: int) -> Tensor:
    """(b, q, width) -> (b * copies, q + room, width), the room not filled yet."""
    b, q, width = states.shape
    roomy = states.new_empty(b, copies, q + room, width)
    roomy[:, :, :q] = states.unsqueeze(1)
    return roomy.view(b * copies, q + room, width)


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
