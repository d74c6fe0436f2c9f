"""Forward passes whose backward passes add the gradient up over all processes that train together."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, TypeVar

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import GradBucket  # type: ignore[attr-defined]
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from workers.ranks import Ranks
from workers.sharding import is_sharded

T = TypeVar("T")


class Gradients(Generic[T]):
    """A way of calling modules, such that `backward` leaves the gradient of all processes' losses together."""

    def __init__(self, modules: Iterable[nn.Module], call: Callable[..., T], ranks: Ranks) -> None:
        """Begin with the weights of the first process.

        Args:
            modules: hold all parameters that `call` reads.
        """
        self.ranks = ranks
        self._call: Callable[..., T] = call
        self._replicas: DistributedDataParallel | None = None
        modules = list(modules)
        if ranks.size > 1 and not any(map(is_sharded, modules)):  # those that are split add up by themselves
            # Looking for parameters without gradient also keeps its buckets as they are: regrouped after the first
            # step, sums of several processes would round otherwise in a resumed run than in an unbroken one.
            self._replicas = DistributedDataParallel(
                _Called(modules, call),
                find_unused_parameters=True,
                gradient_as_bucket_view=True,
            )
            self._replicas.register_comm_hook(None, _add_up)

    def forward(self, *args: Any) -> T:
        """As `call`, for a loss that `backward` is called on once."""
        return self._call(*args) if self._replicas is None else self._replicas(*args)

    def part(self, *, last: bool) -> AbstractContextManager[object]:
        """Around forward and backward of one part of a batch; the last part brings the processes together."""
        return nullcontext() if last or self._replicas is None else self._replicas.no_sync()


class _Called(nn.Module):
    def __init__(self, modules: Iterable[nn.Module], call: Callable[..., Any]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)
        self._call = call
        # Read by DistributedDataParallel: buffers are the same everywhere and need not be sent before each pass.
        self._ddp_params_and_buffers_to_ignore = {name for name, _ in self.named_buffers()}

    def forward(self, *args: Any) -> Any:
        return self._call(*args)


def _add_up(_: object, bucket: GradBucket) -> Future[Tensor]:
    """The sum, where the default is the mean: each process weighs its losses by its share of the whole batch."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    return work.get_future().then(lambda done: done.value()[0])  # type: ignore[no-any-return]
