"""The reward model: a language model's trunk and a scalar head on pooled hidden states."""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor, nn

from app.hparams import Pooling
from workers.nets.language_model import FINAL, LanguageModel
from workers.nets.precision import full_precision


class Read(NamedTuple):
    """One pooled hidden state that a head sees."""

    layer: int = FINAL
    """Layer number, as in LanguageModel."""
    pooling: Pooling = Pooling.LAST


class Scored(NamedTuple):
    """Scores, and how far those who gave them disagree."""

    scores: Tensor
    """(n,) float32."""
    disagreement: Tensor | None
    """(n,) float32, in units of the score; None where there is one model only."""


class RewardModel(nn.Module):
    """score = gain * head(features) + bias, in float32.

    The head's weight starts at N(0, 1 / (width + 1)) and its bias at 0; gain and bias give the scores their scale
    (Ziegler et al. 2019, section 2.2; lm-human-preferences rewards.py).
    """

    feature_mean: Tensor
    feature_std: Tensor
    attention: nn.Parameter | None

    def __init__(
        self,
        trunk: LanguageModel,
        *,
        reads: Sequence[Read] = (Read(),),
        frozen: bool,
        generator: torch.Generator,
    ) -> None:
        """Put a fresh head on `trunk`.

        Args:
            trunk: a copy of the reference for this model alone; where `frozen`, it may be the reference itself.
            reads: what the head sees, side by side; at least one.
            frozen: the trunk is not trained. Its parameters are left as they are, since others may share them; the
                features carry no gradient.
            generator: draws the head's weight; on the CPU.
        Raises: ValueError if a frozen model should read by attention, which would never learn where to look.
        """
        super().__init__()
        asked = sum(read.pooling is Pooling.ATTENTION for read in reads)
        if frozen and asked:
            raise ValueError("attention pooling learns its weights: train the trunk too, or choose mean or last")
        self.trunk = trunk
        self.reads = tuple(reads)
        self.frozen = frozen
        width, device = trunk.width * len(self.reads), trunk.device
        self.head = nn.Linear(width, 1, device=device)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(1, width, generator=generator) / sqrt(width + 1))
            self.head.bias.zero_()
        self.gain = nn.Parameter(torch.ones((), device=device))
        self.bias = nn.Parameter(torch.zeros((), device=device))
        # Zeros attend to all tokens alike, so attention starts as the mean.
        self.register_parameter(
            "attention", nn.Parameter(torch.zeros(asked, trunk.width, device=device)) if asked else None
        )
        self.register_buffer("feature_mean", torch.zeros(width, device=device))
        self.register_buffer("feature_std", torch.ones(width, device=device))

    def forward(self, queries: Tensor, query_mask: Tensor, responses: Tensor, response_mask: Tensor) -> Tensor:
        """Scores of truncated responses.

        Args:
            queries: (n, q) int64, left-padded.
            query_mask: (n, q) bool; True marks a real token.
            responses: (n, r) int64, truncated and right-padded; or (n, k, r), k of them to each query.
            response_mask: the same shape, bool; True marks a kept token.
        Returns: (n,) float32, or (n k,).
        """
        return self.score_features(self.branch_features(queries, query_mask, responses, response_mask))

    def member_scores(self, queries: Tensor, query_mask: Tensor, responses: Tensor, response_mask: Tensor) -> Tensor:
        """(1, n) float32, or (1, n k): as `forward`, in the form that an ensemble has."""
        return self.forward(queries, query_mask, responses, response_mask).unsqueeze(0)

    def combine(self, members: Tensor) -> Scored:
        """What `member_scores` come to."""
        return Scored(members[0], None)

    def features(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """What the head sees; with a frozen trunk it never changes, so it may be computed once and kept.

        Args:
            input_ids: (n, t) int64, query and response.
            mask: (n, t) bool; True marks a real token, at least one per row.
        Returns: (n, reads * width) float32, without gradient where the trunk is frozen.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            pooled = pooled_features(self.trunk, input_ids, mask, self.reads, attention=self.attention)
            return torch.cat(pooled, dim=1)

    def branch_features(self, queries: Tensor, query_mask: Tensor, responses: Tensor, response_mask: Tensor) -> Tensor:
        """As `features`, of each response behind its query; arguments as in `forward`."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            pooled = branch_features(
                self.trunk, queries, query_mask, responses, response_mask, self.reads, attention=self.attention
            )
            return torch.cat(pooled, dim=1)

    def score_states(self, states: Mapping[int, Tensor], mask: Tensor) -> Tensor:
        """As `forward`, from hidden states of the trunk that somebody has computed.

        Args:
            states: (n, t, width) float by layer number, of all layers that are read.
            mask: (n, t) bool; True marks a real token, at least one per row.
        """
        return self.score_features(self.read_states(states, mask))

    def read_states(self, states: Mapping[int, Tensor], mask: Tensor) -> Tensor:
        """(n, reads * width) float32, what the head sees; arguments as in `score_states`."""
        layers = _layers(self.reads)
        pooled = _pooled([states[layer] for layer in layers], layers, mask, self.reads, self.attention)
        return torch.cat(pooled, dim=1)

    def score_features(self, features: Tensor) -> Tensor:
        """(n, reads * width) features -> (n,) float32 scores."""
        with full_precision(features.device):
            standard = (features - self.feature_mean) / self.feature_std
            raw: Tensor = self.head(standard).squeeze(-1)
        return self.gain * raw + self.bias

    @torch.no_grad()
    def standardise(self, features: Tensor) -> None:
        """Shift and scale features so that these (n, reads * width), n >= 2, get mean 0 and deviation 1."""
        std, mean = torch.std_mean(features, dim=0, correction=0)
        self.feature_mean.copy_(mean)
        self.feature_std.copy_(std.clamp(min=1e-6))

    @property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the layers that the head reads."""
        return _layers(self.reads)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.gain.device

    def head_state_dict(self) -> dict[str, Tensor]:
        """All that a frozen trunk leaves to save: head, gain, bias and the features' scale."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("trunk.")}

    def load_head_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what `head_state_dict` gave. Raises: ValueError if something is missing or too much."""
        if state.keys() != self.head_state_dict().keys():
            raise ValueError(f"expected {sorted(self.head_state_dict())}, got {sorted(state)}")
        self.load_state_dict(state, strict=False)


def pooled_features(
    trunk: LanguageModel, input_ids: Tensor, mask: Tensor, reads: Sequence[Read], *, attention: Tensor | None = None
) -> list[Tensor]:
    """The features of several heads from one pass, which ends at the highest layer that is read.

    Args:
        input_ids: (n, t) int64.
        mask: (n, t) bool; True marks a real token, at least one per row.
        attention: (a, width) float; for each read that pools by attention, in order, what a token's state is
            multiplied with to give its weight before the softmax.
    Returns: one (n, width) float32 for each of `reads`.
    Raises: ValueError if `attention` has another number of rows than reads ask for.
    """
    layers = _layers(reads)
    return _pooled(trunk.hidden_layers(input_ids, mask, layers), layers, mask, reads, attention)


def branch_features(
    trunk: LanguageModel,
    queries: Tensor,
    query_mask: Tensor,
    responses: Tensor,
    response_mask: Tensor,
    reads: Sequence[Read],
    *,
    attention: Tensor | None = None,
) -> list[Tensor]:
    """As `pooled_features` of each response behind its query; each query is read once for all its responses.

    Args:
        queries, query_mask: (n, q), left-padded.
        responses, response_mask: (n, r) or (n, k, r), right-padded.
        attention: as in `pooled_features`.
    Returns: one (n, width) or (n k, width) float32 for each of `reads`.
    """
    if responses.dim() == 2:
        responses, response_mask = responses.unsqueeze(1), response_mask.unsqueeze(1)
    layers = _layers(reads)
    states = trunk.branch_layers(queries, query_mask, responses, response_mask, layers)
    copies = query_mask.repeat_interleave(responses.shape[1], dim=0)
    return _pooled(states, layers, torch.cat([copies, response_mask.flatten(0, 1)], dim=1), reads, attention)


def _layers(reads: Sequence[Read]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(read.layer for read in reads))


def _pooled(
    found: Sequence[Tensor], layers: Sequence[int], mask: Tensor, reads: Sequence[Read], attention: Tensor | None
) -> list[Tensor]:
    asked, given = sum(read.pooling is Pooling.ATTENTION for read in reads), 0 if attention is None else len(attention)
    if asked != given:
        raise ValueError(f"{asked} reads pool by attention, {given} rows of weights were given")
    states = dict(zip(layers, found, strict=True))
    looks = iter(() if attention is None else attention)
    return [
        _attend(states[read.layer].float(), mask, next(looks))
        if read.pooling is Pooling.ATTENTION
        else _pool(states[read.layer].float(), mask, read.pooling)
        for read in reads
    ]


def _attend(states: Tensor, mask: Tensor, look: Tensor) -> Tensor:
    with full_precision(states.device):
        weights = (states @ look).masked_fill(~mask, -torch.inf).softmax(dim=1)  # (n, t)
    return (states.masked_fill(~mask.unsqueeze(-1), 0) * weights.unsqueeze(-1)).sum(dim=1)


def _pool(states: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    if pooling is Pooling.MEAN:
        return states.masked_fill(~mask.unsqueeze(-1), 0).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    t = mask.shape[1]
    last = (torch.arange(t, device=mask.device) * mask).argmax(dim=1)
    return states[torch.arange(len(states), device=mask.device), last]
