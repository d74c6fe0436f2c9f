"""Token after token over a cache of fixed size: a step changes tensors in place and decides nothing on the host.

So one step can be captured as a CUDA graph and replayed; on a CPU the same step runs as it stands.
"""

from collections.abc import Callable
from typing import Any

import structlog
import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from workers.nets.attention import Prefix, mask_bias, set_prefix
from workers.nets.language_model import LanguageModel
from workers.nets.scoring import scorer

try:
    from workers.nets.draw_kernel import draw
except ImportError:  # PyTorch's builds for CPUs come without Triton
    draw = None  # type: ignore[assignment]

BLOCK = 256
"""Tokens of the vocabulary that are added up together when one is drawn."""
EAGER_STEPS = 1
"""Steps before a capture: libraries set themselves up, weights are cast."""

log = structlog.get_logger()


class Decoding:
    """n texts on their way to r tokens each.

    All that changes: what stands before the next token, what was drawn, and where that is.
    """

    def __init__(
        self,
        model: LanguageModel,
        prefix: Cache,
        hidden: Tensor,
        query_mask: Tensor,
        *,
        uniform: Tensor,
        temperature: float,
        read_value: Callable[[Tensor], Tensor] | None,
        room: int,
        ran: Callable[[Tensor], None],
    ) -> None:
        """Begin behind the queries.

        Args:
            prefix: keys and values of b queries; each is continued n / b times.
            hidden: (b, width) float; hidden states of their last tokens.
            query_mask: (b, q) bool.
            uniform: (r, n) float32 in [0, 1).
            room: tokens that are read behind the query: r, or r - 1, since nothing is predicted from the last.
            ran: called after each pass of the trunk with the (1,) int64 place of the token it read; changes tensors
                only.
        """
        (r, n), (b, q) = uniform.shape, query_mask.shape
        device, k = hidden.device, n // b
        self.model, self.read_value, self.ran = model, read_value, ran
        self._scores = scorer(model, temperature, multiple_of=BLOCK)
        self.uniform, self._room = uniform, room
        self.hidden = hidden.repeat_interleave(k, dim=0)
        self.tokens = torch.zeros(n, r, dtype=torch.int64, device=device)
        self.logprobs = torch.zeros(n, r, device=device)
        self.values = torch.zeros(n, r, device=device)
        self._drawn = torch.zeros(1, dtype=torch.int64, device=device)
        self._read = torch.zeros(1, dtype=torch.int64, device=device)
        self._place = torch.full((1,), q, dtype=torch.int64, device=device)
        # No view: compiled code would look at the shape of what it is a view of.
        self._positions = query_mask.sum(dim=1).repeat_interleave(k).unsqueeze(1).clone()
        seen = torch.nn.functional.pad(query_mask.repeat_interleave(k, dim=0), (0, room), value=False)
        self._bias = mask_bias(seen[:, None, None])
        self._cache = Cache(layers=[FixedLayer(layer, k, room, self._read) for layer in prefix.layers])

    def run(self) -> None:
        """All tokens."""
        steps = self._room
        if self.hidden.device.type == "cuda" and steps > EAGER_STEPS:
            steps = self._replay(steps)
        for _ in range(steps):
            self._step()
        if self._room < len(self.uniform):
            self._draw()

    def _step(self) -> None:
        token = self._draw()
        self._bias.index_fill_(-1, self._place, 0.0)
        hidden = self.model.run_trunk(token.unsqueeze(1), self._bias, self._positions, self._cache)
        self.hidden.copy_(hidden[:, 0])
        self.ran(self._place)
        self._positions += 1
        self._place += 1
        self._read += 1

    def _draw(self) -> Tensor:
        """(n,) the next tokens, noted with their log-probabilities and values."""
        uniform = self.uniform.index_select(0, self._drawn)[0]
        token, logprob = sample(self._scores(self.hidden), uniform)
        self.tokens.index_copy_(1, self._drawn, token.unsqueeze(1))
        self.logprobs.index_copy_(1, self._drawn, logprob.unsqueeze(1))
        if self.read_value is not None:
            self.values.index_copy_(1, self._drawn, self.read_value(self.hidden).float().unsqueeze(1))
        self._drawn += 1
        return token

    def _replay(self, steps: int) -> int:
        """Most steps as a graph; how many are left where one cannot be captured."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream):
            for _ in range(EAGER_STEPS):
                self._step()
            captured = self._captured(graph)
        torch.cuda.current_stream().wait_stream(stream)
        if not captured:
            return steps - EAGER_STEPS
        for _ in range(steps - EAGER_STEPS):
            graph.replay()
        return 0

    def _captured(self, graph: torch.cuda.CUDAGraph) -> bool:
        """Whether one step could be put into `graph`.

        Not by `torch.cuda.graph`, which first gives all free memory back and so takes longer than several steps.
        """
        try:
            graph.capture_begin()
            try:
                self._step()
            finally:
                graph.capture_end()
        except RuntimeError as error:  # a model that looks at its numbers on the host: slower, not wrong
            log.warning("decoding_not_captured", reason=str(error).splitlines()[0])
            return False
        return True


def sample(scores: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Draw one token per row by inverting the cumulative distribution, first of blocks of tokens, then within one.

    Several times faster on CPUs than torch.multinomial, which draws a number per token of the vocabulary.

    Args:
        scores: (n, v) float, logits divided by the temperature; -inf where there is no token.
        uniform: (n,) float32 in [0, 1).
    Returns: (n,) int64 tokens and (n,) float32 log-probabilities under softmax(scores).
    """
    if draw is not None and scores.device.type == "cuda" and scores.shape[1] % BLOCK == 0:
        return draw(scores, uniform, BLOCK)
    weights = scores.softmax(dim=-1, dtype=torch.float32)
    rest = -weights.shape[1] % BLOCK
    blocks = (torch.nn.functional.pad(weights, (0, rest)) if rest else weights).unflatten(1, (-1, BLOCK))
    ends = blocks.sum(dim=-1).cumsum(dim=-1)
    total = ends[:, -1:]
    target = _below(uniform.unsqueeze(1) * total, total)
    # Strictly above the target, so that no impossible block or token is drawn.
    block = torch.searchsorted(ends, target, right=True)
    inside = blocks.gather(1, block.unsqueeze(-1).expand(-1, -1, BLOCK)).squeeze(1).cumsum(dim=-1)
    begin = torch.nn.functional.pad(ends, (1, 0)).gather(1, block)
    tokens = block * BLOCK + torch.searchsorted(inside, _below(target - begin, inside[:, -1:]), right=True)
    return tokens.squeeze(1), (weights.gather(1, tokens) / total).log().squeeze(1)


def _below(target: Tensor, end: Tensor) -> Tensor:
    """Rounding may lift a share of a sum to the sum itself."""
    return torch.minimum(target, torch.nextafter(end, torch.zeros_like(end)))


class QueryLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one block of whole queries, kept as they come: nothing stands before them."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        self.keys, self.values, self.is_initialized = key_states, value_states, True
        return key_states, value_states


class FixedLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one block behind its queries', with room for all tokens to come; the unwritten are masked.

    Does not look at the number of its layer, so that a block takes it in the place of the whole cache too.
    """

    def __init__(self, prefix: Any, copies: int, room: int, read: Tensor) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = prefix.keys.dtype, prefix.keys.device, True
        b, groups, self._queried, d = prefix.keys.shape
        self._read = read
        # Zeros: a weight of 0 times NaN would be NaN. Tensors of their own: compiled code would copy what views share.
        self.keys, self.values = (prefix.keys.new_zeros(b * copies, groups, room, d) for _ in range(2))
        parts = (prefix.keys, prefix.values)
        if prefix.keys.device.type == "cpu":  # whose products would put them together for each token
            parts = (prefix.keys.contiguous(), prefix.values.contiguous())
        set_prefix(self.keys, Prefix(*parts, read))

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        self.keys.index_copy_(2, self._read, key_states.to(self.keys.dtype))
        self.values.index_copy_(2, self._read, value_states.to(self.values.dtype))
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return int(self._queried + self.keys.shape[-2])
