"""What the reference says of samples, with the scores of a frozen reward model, which reads the same hidden states."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from workers.actor_critic import ActorCritic, sliced
from workers.nets.language_model import FINAL
from workers.nets.policy import Policy
from workers.nets.reward_ensemble import Reward, RewardEnsemble
from workers.nets.reward_model import RewardModel
from workers.rlhf.types import QueryBatch, TrunkStates
from workers.shared_trunk import equal_below


class Heard(NamedTuple):
    """Of some samples."""

    logprobs: Tensor
    """(b, r) float, nats."""
    states: dict[int, Tensor]
    """(b, q + r, width) float by layer number, of all layers that were asked for."""


class ReferencePass:
    """One pass of the reference over what the policy wrote, above the frozen layers that they share."""

    def __init__(self, reference: Policy, models: ActorCritic) -> None:
        self._reference, self._models = reference, models
        self._shares: bool | None = None

    @property
    def shares(self) -> bool:
        """Whether the policy's frozen layers are the reference's; asked once, since neither changes."""
        if self._shares is None:
            mine, theirs = self._models.policy.language_model, self._reference.language_model
            layers = self._models.shared_layers
            self._shares = layers > 0 and equal_below(mine, theirs, layers)
        return self._shares

    def reader(self, scorer: object, queries: QueryBatch) -> Reward | None:
        """The scorer, if the reference is its trunk and all it reads of it comes up here.

        Not where the last block has a part: it is not run for all tokens.
        """
        if not isinstance(scorer, RewardModel | RewardEnsemble) or not scorer.frozen:
            return None
        model = self._reference.language_model
        inside = all(0 < layer < model.num_layers - 1 for layer in scorer.layers)
        return scorer if inside and scorer.trunk is model and queries.raw_ids is queries.ids else None

    def kept(self, layers: Sequence[int]) -> tuple[int, ...]:
        """Layers that sampling is to keep: the highest one shared, and those of `layers` that lie below it."""
        top = self._models.shared_layers
        return tuple(sorted({top, *(layer for layer in layers if self.shares and layer < top)})) if top else ()

    def read(
        self, queries: QueryBatch, responses: Tensor, kept: Mapping[int, TrunkStates], layers: Sequence[int]
    ) -> Heard:
        """Log-probabilities, and hidden states at `layers`.

        In the slices in which the policy is trained, so that both are rounded alike.

        Args:
            responses: (b, r) int64, before truncation.
            kept: what sampling kept, by layer number; with the last token if there are `layers`.
        """
        above = [layer for layer in layers if not (self.shares and layer in kept)]
        tokens = queries.ids.shape[1] + responses.shape[1] - (0 if above else 1)
        trunk = kept[self._models.shared_layers].first(tokens) if self.shares else None
        seen: dict[int, Tensor] = {}
        parts: dict[int, list[Tensor]] = {layer: [] for layer in above}
        model = self._reference.language_model

        def read(rows: slice) -> Tensor:
            out = self._reference(
                queries.ids[rows],
                queries.mask[rows],
                responses[rows],
                temperature=self._models.temperature,
                trunk=None if trunk is None else trunk[rows],
                last_too=bool(above),
            )
            for layer, found in parts.items():
                found.append(seen[layer])
            logprobs: Tensor = out.logprobs
            return logprobs

        with self._models.autocast(), model.watching((*above, FINAL), seen) if above else nullcontext():
            logprobs = sliced(read, len(responses), self._models.micro_batch)
        states = {layer: torch.cat(found) for layer, found in parts.items()}
        return Heard(logprobs, states | {layer: kept[layer].states for layer in layers if layer not in states})
