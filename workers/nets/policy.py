"""The policy: a language model with a value head on the same trunk."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workers.nets.generation import Generated, generate
from workers.nets.language_model import LanguageModel
from workers.nets.value_head import ValueHead, response_hidden
from workers.rlhf import logprobs
from workers.rlhf.types import TrunkStates


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyOutput:
    """What the policy says of given responses. Position t tells of response token t, from what stands before it."""

    logprobs: Tensor
    """(b, r) float32, nats, at the temperature given."""
    values: Tensor
    """(b, r) float32; the expected return."""
    entropy: Tensor | None
    """(b, r) float32, nats per token, without gradient; None unless asked for."""


class Policy(nn.Module):
    """Language model and scalar value head on one trunk; the head starts at zero (Ziegler et al. 2019, section 2.2)."""

    def __init__(self, language_model: LanguageModel, *, frozen_layers: int = 0) -> None:
        """Take over `language_model`.

        Args:
            frozen_layers: this many of the lowest blocks, and the embeddings, are not trained. Where the LM head is
                tied to the embeddings it is not trained either.
        Raises: ValueError if that leaves no block to train.
        """
        super().__init__()
        self.language_model = language_model
        self.value_head = ValueHead(language_model.width, device=language_model.device)
        if not 0 <= frozen_layers < language_model.num_layers:
            raise ValueError(f"frozen_layers {frozen_layers} must lie in [0, {language_model.num_layers})")
        self.frozen_layers = frozen_layers
        if frozen_layers:
            self._freeze(frozen_layers)

    def forward(
        self,
        queries: Tensor,
        query_mask: Tensor,
        responses: Tensor,
        *,
        temperature: float,
        with_entropy: bool = False,
        trunk: TrunkStates | None = None,
        last_too: bool = False,
    ) -> PolicyOutput:
        """Log-probabilities and values of responses as sampled; the heads run on the response's positions only.

        Args:
            queries: (b, q) int64, left-padded.
            query_mask: (b, q) bool; True marks a real token.
            responses: (b, r) int64, before truncation: every token counts.
            temperature: positive; divides the logits.
            with_entropy: entropy costs another pass over the vocabulary.
            trunk: what frozen layers make of them; None: compute it.
            last_too: as in `value_head.response_hidden`.
        """
        hidden = self.response_hidden(queries, query_mask, responses, trunk, last_too=last_too)
        entropy = None
        if with_entropy:
            with torch.no_grad():
                entropy = logprobs.entropy(self.language_model.logits(hidden), temperature)
        return PolicyOutput(
            logprobs=self.language_model.logprobs(hidden, responses, temperature),
            values=self.value_head(hidden),
            entropy=entropy,
        )

    def response_hidden(
        self,
        queries: Tensor,
        query_mask: Tensor,
        responses: Tensor,
        trunk: TrunkStates | None = None,
        *,
        last_too: bool = False,
    ) -> Tensor:
        """(b, r, width) hidden states before each response token, after the final norm; arguments as in `forward`."""
        return response_hidden(self.language_model, queries, query_mask, responses, trunk, last_too=last_too)

    def generate(
        self,
        queries: Tensor,
        query_mask: Tensor,
        *,
        response_tokens: int,
        temperature: float,
        generator: torch.Generator,
        samples_per_query: int = 1,
        keep_layers: Sequence[int] = (),
        keep_last: bool = False,
        within: tuple[int, int] | None = None,
    ) -> Generated:
        """Sample responses with log-probabilities and values; see `generation.generate`."""
        return generate(
            self.language_model,
            queries,
            query_mask,
            response_tokens=response_tokens,
            temperature=temperature,
            generator=generator,
            samples_per_query=samples_per_query,
            read_value=self.value_head,
            keep_layers=keep_layers,
            keep_last=keep_last,
            within=within,
        )

    def _freeze(self, layers: int) -> None:
        model = self.language_model.model
        embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
        for module in (*embeddings, *self.language_model.blocks[:layers]):
            module.requires_grad_(False)
