"""Any causal language model of transformers, seen as a trunk that gives hidden states and a head that gives logits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from workers.nets.activations import fuse_activations
from workers.nets.attention import GROUPED, mask_bias
from workers.nets.branching import branching, unbranched
from workers.nets.precision import exact, full_precision
from workers.nets.reading import context_of, read_causal_lm, unsupported_is_named
from workers.nets.splitting import upper_part
from workers.rlhf.logprobs import gather_logprobs, head_logprobs, product
from workers.rlhf.masks import position_ids

FINAL = -1
"""The layer number of the output of the final norm."""
PARITY_TOLERANCE = 1e-3
"""Largest difference of logits from the model's own, relative to their largest; rounding stays far below."""
PROBE_TOKENS = 8
"""Length of the text on which they are compared."""


class EnoughError(Exception):
    """Raised inside the trunk to leave it early."""


class LanguageModel(nn.Module):
    """A causal LM that never drops out and takes padding by mask.

    A layer number n in 1..layers means the hidden state that n blocks have made; 0 means the embeddings; `FINAL` means
    the output of the final norm, which the LM head reads.
    """

    def __init__(self, model: PreTrainedModel, *, attention: str = GROUPED) -> None:
        """Take over `model`. Raises: ValueError if its attention cannot be replaced."""
        super().__init__()
        model.set_attn_implementation(attention)
        if model.config._attn_implementation != attention:
            raise ValueError("it computes attention in a way of its own")
        fuse_activations(model)
        self._biased = attention == GROUPED
        self.model = model.eval()
        self.dropout = 0.0
        self.num_layers = int(model.config.num_hidden_layers)
        self.width = int(model.config.hidden_size)
        self.vocabulary = int(model.config.vocab_size)
        self.context = context_of(model.config)
        self.splits_last: bool | None = None
        """Whether the last block may run for some tokens alone; None: not known yet, see `last_block`."""
        self._uppers: dict[int, nn.Module] = {}

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        attention: str = GROUPED,
    ) -> Self:
        """Read a model from a local folder and check that this class computes the logits it computes by itself.

        Raises: ValueError if the folder holds no causal LM, or one whose logits come out different: some rescale them
            or attend in unusual ways.
        """
        model = read_causal_lm(folder, dtype=dtype).to(device)
        with torch.inference_mode(), exact(), unsupported_is_named(folder, model):
            probe = torch.arange(PROBE_TOKENS, device=device).unsqueeze(0) % int(model.config.vocab_size)
            probe = probe[:, : context_of(model.config)]
            expected = model(probe).logits  # before the attention is another one
            loaded = cls(model, attention=attention)
            loaded._require_parity(probe, expected)
        return loaded

    def train(self, mode: bool = True) -> Self:
        """Dropout stays off whatever `mode` is (Ziegler et al. 2019, section 2.2), but after `allow_dropout`."""
        super().train(mode)
        self.model.train(mode and self.dropout > 0)
        return self

    def allow_dropout(self, probability: float) -> None:
        """Drop out in training, wherever the architecture has a place for it; draws from torch's global generator."""
        self.dropout = probability
        for module in self.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = probability
            elif isinstance(getattr(module, "attention_dropout", None), float):  # of layers that hand it on as a number
                module.attention_dropout = probability

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.model.device
        return device

    @property
    def trunk(self) -> nn.Module:
        """Everything below the LM head."""
        trunk: nn.Module = self.model.base_model
        return trunk

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, lowest first."""
        lists = (module for module in self.trunk.modules() if isinstance(module, nn.ModuleList))
        return next(blocks for blocks in lists if len(blocks) == self.num_layers)

    def layer_at(self, depth: float) -> int:
        """The layer number at a fraction of the model's layers in (0, 1]; 1 is `FINAL`."""
        if not 0 < depth <= 1:
            raise ValueError(f"depth {depth} must lie in (0, 1]")
        return FINAL if depth == 1 else max(1, min(self.num_layers, round(depth * self.num_layers)))

    def hidden(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Hidden states after the final norm.

        Args:
            input_ids: (b, t) int64; any id where the mask is False.
            mask: (b, t) bool; True marks a real token. Padding may stand on either side.
        Returns: (b, t, width) float; meaningless at padding.
        Raises: ValueError if t exceeds the model's context.
        """
        return self.run_trunk(input_ids, causal_mask(mask), position_ids(mask))

    def hidden_layers(self, input_ids: Tensor, mask: Tensor, layers: tuple[int, ...]) -> tuple[Tensor, ...]:
        """Hidden states at several layers, computing no block above the highest of them.

        Args: as in `hidden`; `layers` are layer numbers.
        Returns: one (b, t, width) float per layer asked for, in that order.
        Raises: ValueError if a layer number is out of range or t exceeds the model's context.
        """
        if wrong := [layer for layer in layers if not FINAL <= layer <= self.num_layers]:
            raise ValueError(f"layers {wrong} must lie in [{FINAL}, {self.num_layers}]")
        seen: dict[int, Tensor] = {}
        with self.watching(layers, seen), suppress(EnoughError):
            seen[FINAL] = self.hidden(input_ids, mask)
        return tuple(seen[layer] for layer in layers)

    def branch_layers(
        self, queries: Tensor, query_mask: Tensor, responses: Tensor, response_mask: Tensor, layers: tuple[int, ...]
    ) -> tuple[Tensor, ...]:
        """As `hidden_layers` of each response behind its query, reading a query once for all its responses.

        Args:
            queries, query_mask: (g, q) int64 and bool, left-padded.
            responses, response_mask: (g, k, r) int64 and bool, right-padded.
        Returns: one (g k, q + r, width) float per layer asked for.
        """
        (_, q), (_, k, r) = queries.shape, responses.shape
        attend, positions = branching(query_mask, response_mask)
        seen: dict[int, Tensor] = {}
        with self.watching(layers, seen), suppress(EnoughError):
            ids = torch.cat([queries, responses.flatten(1)], dim=1)
            seen[FINAL] = self.run_trunk(ids, attend, positions, longest=q + r)
        return tuple(unbranched(seen[layer], q, k) for layer in layers)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., width) hidden states after the final norm -> (..., v) logits.

        Always in the weights' own precision: bfloat16 logits are off by several hundredths, as much as PPO moves them.
        """
        head: nn.Module = self.model.get_output_embeddings()
        weight: Tensor = head.weight  # type: ignore[assignment]
        rows = hidden.to(weight.dtype).reshape(-1, hidden.shape[-1])
        with full_precision(weight.device):
            logits: Tensor = head(rows)  # one matrix: a slice of three dimensions would be multiplied row by row
        return logits.view(*hidden.shape[:-1], -1)

    def scores(self, hidden: Tensor, temperature: float, *, multiple_of: int) -> Tensor:
        """Logits over the temperature, for sampling; without gradient.

        Args:
            hidden: (n, width) float, after the final norm.
            temperature: positive.
            multiple_of: the vocabulary is filled up to such a number by tokens of -inf.
        Returns: (n, v or a little more) float, precise as `logits`.
        """
        head: nn.Module = self.model.get_output_embeddings()
        room = -self.vocabulary % multiple_of
        if type(head) is not nn.Linear:
            return torch.nn.functional.pad(self.logits(hidden) / temperature, (0, room), value=-torch.inf)
        v = len(head.weight)
        scores = head.weight.new_empty(len(hidden), v + -v % multiple_of)
        scores[:, v:] = -torch.inf
        with full_precision(scores.device):
            product(hidden.to(scores.dtype) / temperature, head.weight, out=scores[:, :v])
        if head.bias is not None:
            scores[:, :v] += head.bias / temperature
        return scores

    def logprobs(self, hidden: Tensor, tokens: Tensor, temperature: float) -> Tensor:
        """(b, r) float32 log-probabilities of tokens under softmax(logits / temperature), in nats.

        Args:
            hidden: (b, r, width) float, after the final norm; position t stands before token t.
            tokens: (b, r) int64.
            temperature: positive.
        """
        head: nn.Module = self.model.get_output_embeddings()
        if type(head) is nn.Linear and head.weight.dtype == torch.float32:
            return head_logprobs(hidden.float(), head.weight, head.bias, tokens, temperature)
        return gather_logprobs(self.logits(hidden), tokens, temperature)

    def run_trunk(
        self,
        input_ids: Tensor,
        attend: Tensor,
        positions: Tensor,
        cache: Cache | None = None,
        *,
        longest: int | None = None,
    ) -> Tensor:
        """The trunk itself, for callers that keep keys and values in a cache.

        Args:
            input_ids: (b, t) int64.
            attend: (b, 1, t, s) bool; True where token t may look at token s, the cached ones first; or float32, what
                `attention.mask_bias` makes of it.
            positions: (b, t) int64.
            cache: None keeps nothing.
            longest: tokens in the longest text; None: s.
        Returns: (b, t, width) float.
        Raises: ValueError if that exceeds the model's context.
        """
        longest = attend.shape[-1] if longest is None else longest
        if self.context is not None and longest > self.context:
            raise ValueError(
                f"{longest} tokens exceed the model's context of {self.context}: shorten query or response"
            )
        output = self.trunk(
            input_ids=input_ids,
            attention_mask=self._as_bias(attend),
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def until(self, layer: int, run: Callable[[], Tensor]) -> Tensor:
        """Hidden states at a layer of one pass, which `run` would do and which ends there."""
        seen: dict[int, Tensor] = {}
        with self.watching((layer,), seen), suppress(EnoughError):
            run()
        return seen[layer]

    def run_above(
        self, layer: int, states: Tensor, attend: Tensor, positions: Tensor, cache: Cache | None = None
    ) -> Tensor:
        """Hidden states after the final norm, from those at `layer`; no block below is computed.

        Args:
            layer: layer number in [0, layers).
            states: (b, t, width) float.
            attend, positions, cache: as in `run_trunk`.
        Returns: (b, t, width) float.
        """

        def put_in(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ARG001
            return ((states, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": states})

        if layer not in self._uppers:
            self._uppers[layer] = upper_part(self.trunk, self.blocks, layer)
        handle = self.blocks[layer].register_forward_pre_hook(put_in, with_kwargs=True)
        try:
            output = self._uppers[layer](
                inputs_embeds=states,
                attention_mask=self._as_bias(attend),
                position_ids=positions,
                past_key_values=cache,
                use_cache=cache is not None,
            )
        finally:
            handle.remove()
        hidden: Tensor = output.last_hidden_state
        return hidden

    def splits_at(self, layer: int) -> bool:
        """Whether `run_above` a layer gives what the whole trunk gives: some architectures look down from above."""
        probe = self.probe()
        mask = torch.ones_like(probe, dtype=torch.bool)
        with torch.no_grad(), exact():
            states, expected = self.hidden_layers(probe, mask, (layer, FINAL))
            try:
                found = self.run_above(layer, states, causal_mask(mask), position_ids(mask))
            except Exception:  # in whatever way such an architecture fails
                return False
            return bool((found - expected).abs().max() <= parity_tolerance(expected.dtype) * expected.abs().max())

    def probe(self) -> Tensor:
        """(1, t) int64, a small text to try the model on."""
        return (torch.arange(PROBE_TOKENS, device=self.device) % self.vocabulary).unsqueeze(0)[:, : self.context]

    def _as_bias(self, attend: Tensor) -> Tensor:
        return mask_bias(attend) if self._biased and attend.dtype == torch.bool else attend

    def _require_parity(self, probe: Tensor, expected: Tensor) -> None:
        """Raises: ValueError if the logits are not the expected ones, with padding on the left where there is room."""
        padding = probe[:, :2] if self.context is None or probe.shape[1] + 2 <= self.context else probe[:, :0]
        padded = torch.cat([padding, probe], dim=1)
        mask = torch.arange(padded.shape[1], device=padded.device).unsqueeze(0) >= padding.shape[1]
        error = (self.logits(self.hidden(padded, mask))[:, padding.shape[1] :] - expected).abs().max()
        if not error <= parity_tolerance(expected.dtype) * expected.abs().max():
            raise ValueError(f"its logits come out different by {error:.2g}")

    @contextmanager
    def watching(self, layers: tuple[int, ...], seen: dict[int, Tensor]) -> Iterator[None]:
        """While open, every pass puts its hidden states at these layers into `seen`.

        A pass goes no further than the highest layer: ask for `FINAL` too where it should end as usual.
        """
        wanted = {layer for layer in layers if layer != FINAL}
        last = max(wanted, default=0) if FINAL not in layers else None

        def keep(layer: int, state: Tensor) -> None:
            seen[layer] = state
            if layer == last:
                raise EnoughError

        def before(layer: int) -> Any:
            def hook(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:  # noqa: ARG001
                keep(layer, args[0] if args else kwargs["hidden_states"])

            return hook

        def after(block: nn.Module, args: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
            keep(self.num_layers, output[0] if isinstance(output, tuple) else output)

        handles = [
            self.blocks[layer].register_forward_pre_hook(before(layer), with_kwargs=True)
            for layer in wanted - {self.num_layers}
        ]
        if self.num_layers in wanted:
            handles.append(self.blocks[-1].register_forward_hook(after))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def parity_tolerance(kind: torch.dtype) -> float:
    """Largest difference that rounding explains, relative to the largest number."""
    return PARITY_TOLERANCE if kind == torch.float32 else 100 * PARITY_TOLERANCE


def causal_mask(mask: Tensor) -> Tensor:
    """(b, t) bool mask of real tokens -> (b, 1, t, t) bool; True where a token may look at another."""
    t = mask.shape[1]
    causal = torch.ones(t, t, dtype=torch.bool, device=mask.device).tril()
    return causal & mask[:, None, None, :]
