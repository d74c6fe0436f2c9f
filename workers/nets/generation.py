"""Sampling responses of a fixed length, exactly and fast.

Exactly: every token is drawn from softmax(logits / temperature) without top-k or top-p, an end-of-text token stops
nothing, and the log-probabilities are those of that distribution (Ziegler et al. 2019, section 2.1).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache

from workers.nets.compiling import cast_ahead
from workers.nets.decoding import Decoding, QueryLayer
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
        keep_layer: layer number whose hidden states are kept as they come up.
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
    seen: dict[int, Tensor] = {}
    watched = nullcontext() if keep_layer is None else model.watching((keep_layer, FINAL), seen)
    # Not inference mode: there autocast would cast every weight anew for every token.
    with torch.inference_mode(False), torch.no_grad(), _casts_kept(model), cast_ahead(model), watched:
        prefix = Cache(layers=[QueryLayer() for _ in range(model.num_layers)])
        hidden = model.run_trunk(queries, causal_mask(query_mask), position_ids(query_mask), prefix)
        states = None if keep_layer is None else _with_room(seen[keep_layer], samples_per_query, response_tokens - 1)

        def keep(place: Tensor) -> None:
            if states is not None and keep_layer is not None:
                states.index_copy_(1, place, seen[keep_layer])

        decoding = Decoding(
            model,
            prefix,
            hidden[:, -1],
            query_mask,
            uniform=uniform,
            temperature=temperature,
            read_value=read_value,
            ran=keep,
        )
        decoding.run()
    return Generated(
        tokens=decoding.tokens,
        logprobs=decoding.logprobs,
        values=None if read_value is None else decoding.values,
        trunk=None if states is None or keep_layer is None else TrunkStates(layer=keep_layer, states=states),
    )


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
