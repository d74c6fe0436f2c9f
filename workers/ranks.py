"""Processes that train one model together: which rows are whose, and how the parts come together again.

What is small, such as the (b, r) log-probabilities of a rollout, every process has whole. So whitening, statistics and
guards see the same numbers everywhere, and all processes decide alike. What costs (sampling, reading, forward and
backward passes) each does for its own rows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from workers.rlhf.guards import GuardError, checksum
from workers.sharding import Sharding, is_sharded

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """The default process group as one of its processes sees it; of size 1 there need be no group."""

    rank: int = 0
    size: int = 1
    sharding: Sharding = "auto"
    """Whether they split one copy of what they train; `auto`: where a GPU has no room for one of each."""

    def rows(self, n: int) -> slice:
        """Those of n rows that this process computes.

        Raises: ValueError unless every process gets as many.
        """
        if n % self.size:
            raise ValueError(f"{n} rows cannot be shared evenly by {self.size} processes")
        return slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def whole(self, part: Tensor) -> Tensor:
        """(n, ...) rows of all processes in their order, the same bits everywhere; part: (n / size, ...)."""
        if self.size == 1:
            return part
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(self.size)]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    def summed(self, numbers: Sequence[float]) -> list[float]:
        """Each number added up over the processes, in double precision."""
        if self.size == 1:
            return list(numbers)
        together = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(together)
        summed: list[float] = together.tolist()
        return summed

    def added(self, part: Tensor) -> Tensor:
        """Tensors of all processes added up, in place where there are several; the same bits everywhere."""
        if self.size > 1:
            dist.all_reduce(part)
        return part

    def agreed(self, decide: Callable[[], T]) -> T:
        """What the first process decides: for all that depends on a clock, a disk or somebody else's answer."""
        if self.size == 1:
            return decide()
        box = [decide() if self.rank == 0 else None]
        dist.broadcast_object_list(box, device=torch.device("cpu"))
        return box[0]  # type: ignore[return-value]

    def in_turn(self, do: Callable[[], T]) -> T:
        """What `do` gives, the others after the first, which leaves on the disk what they would have to make again."""
        made = do() if self.rank == 0 else None
        if self.size > 1:
            dist.barrier()
        return do() if made is None else made

    def require_alike(self, modules: Iterable[nn.Module]) -> None:
        """See that all processes hold the same weights, bit for bit, where each has a copy.

        Raises: GuardError in all of them where they do not.
        """
        copies = [one for module in modules if not is_sharded(module) for one in module.parameters()]
        if self.size > 1 and not self.same(checksum(copies)):
            advice = "one of them computes otherwise; look at its GPU, and give all of them the same kind"
            raise GuardError("weights", "differ between the processes that train together", advice)

    def same(self, number: int) -> bool:
        """Whether all processes gave the same number."""
        if self.size == 1:
            return True
        found: list[int | None] = [None] * self.size
        dist.all_gather_object(found, number)
        return len(set(found)) == 1


ALONE = Ranks()
"""One process that trains by itself."""
