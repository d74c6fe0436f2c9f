"""What PPO trains: the policy, and what tells its values: a head on its trunk or a network of its own."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from workers.nets.generation import Generated
from workers.nets.policy import Policy, PolicyOutput
from workers.nets.precision import autocast
from workers.nets.value_head import ValueNetwork
from workers.rlhf.types import QueryBatch, TrunkStates
from workers.sharding import gathered, is_sharded

VALUE_PREFIX = "value_network."


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorCritic:
    """Both of them, and how they are run."""

    policy: Policy
    value_network: ValueNetwork | None
    """None: the policy's own value head."""
    temperature: float
    micro_batch: int
    """Rows per forward pass."""
    bf16: bool
    shared_layers: int = 0
    """So many frozen layers are read once per rollout, while its texts are sampled; 0: every pass reads all."""

    def __post_init__(self) -> None:
        self.policy.value_head.requires_grad_(self.value_network is None)

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that an optimizer may change, by name."""
        named = dict(self.policy.named_parameters())
        if self.value_network is not None:
            named |= {VALUE_PREFIX + name: value for name, value in self.value_network.named_parameters()}
        return {name: parameter for name, parameter in named.items() if parameter.requires_grad}

    def forward(
        self, queries: Tensor, query_mask: Tensor, responses: Tensor, trunk: TrunkStates | None = None
    ) -> PolicyOutput:
        """Log-probabilities and values with gradient, the way they are trained; arguments as in `Policy.forward`."""
        with self.autocast():
            out: PolicyOutput = self.policy(queries, query_mask, responses, temperature=self.temperature, trunk=trunk)
        if self.value_network is None:
            return out
        with self.autocast():
            return replace(out, values=self.value_network(queries, query_mask, responses))

    @property
    def sharded(self) -> bool:
        """Whether several processes hold one copy."""
        return is_sharded(self.policy)

    def modules(self) -> list[nn.Module]:
        """Whatever holds weights."""
        return [self.policy] if self.value_network is None else [self.policy, self.value_network]

    def write(
        self,
        queries: QueryBatch,
        *,
        response_tokens: int,
        generator: torch.Generator,
        keep_layers: Sequence[int] = (),
        keep_last: bool = False,
        within: tuple[int, int] | None = None,
    ) -> tuple[Generated, Tensor]:
        """A response to each query, and (b, r) values; those of a network of its own from one pass afterwards.

        Arguments as in `generation.generate`.
        """
        with self.autocast(), gathered(self.policy):
            written = self.policy.generate(
                queries.ids,
                queries.mask,
                response_tokens=response_tokens,
                temperature=self.temperature,
                generator=generator,
                keep_layers=keep_layers,
                keep_last=keep_last,
                within=within,
            )
        if self.value_network is None and written.values is not None:
            return written, written.values
        return written, self.values(queries, written.tokens)

    def values(self, queries: QueryBatch, responses: Tensor) -> Tensor:
        """(b, r) values of a network of its own, without gradient."""
        network = self.value_network
        if network is None:
            raise ValueError("the policy's own values come with its log-probabilities: use `forward`")

        def read(rows: slice) -> Tensor:
            values: Tensor = network(queries.ids[rows], queries.mask[rows], responses[rows])
            return values

        with self.autocast():
            return sliced(read, len(responses), self.micro_batch)

    def recompute(
        self, queries: Tensor, query_mask: Tensor, responses: Tensor, trunk: TrunkStates | None = None
    ) -> tuple[Tensor, Tensor]:
        """(b, r) log-probabilities and values exactly as training computes them, without gradient."""

        def read(rows: slice) -> Tensor:
            below = None if trunk is None else trunk[rows]
            out = self.forward(queries[rows], query_mask[rows], responses[rows], below)
            return torch.stack([out.logprobs, out.values], dim=1)

        logprobs, values = sliced(read, len(responses), self.micro_batch).unbind(dim=1)
        return logprobs, values

    def autocast(self) -> AbstractContextManager[object]:
        return autocast(self.policy.language_model.device, self.bf16)


def sliced(read: Callable[[slice], Tensor], rows: int, size: int) -> Tensor:
    """What `read` gives for each slice of at most `size` rows, without gradient, put together again."""
    with torch.no_grad():
        return torch.cat([read(slice(start, start + size)) for start in range(0, rows, size)])
