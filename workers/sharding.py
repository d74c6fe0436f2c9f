"""One copy of a model over several processes (FSDP2): each holds its part of weights, gradient and moments.

A block's weights are gathered when a pass comes to it and dropped behind it; while texts are sampled, all stay. What
leaves a process, to a file, is whole. Source: Zhao et al. 2023 (PyTorch FSDP); torch.distributed.fsdp.fully_shard.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

Sharding = Literal["auto", "always", "never"]

TRAINED_BYTES = 16
"""Of a trained float32 parameter: itself, its gradient and two moments."""
READ_BYTES = 4
"""Of one that is only read."""
ROOM = 0.6
"""Share of a GPU that weights and moments may take; the rest is for what passes keep."""


def wanted(sharding: Sharding, *, trained: int, read: int, memory: int | None) -> bool:
    """Whether one copy does not fit.

    Args:
        trained, read: parameters.
        memory: bytes of the GPU; None on a processor, whose processes share one memory.
    """
    if sharding == "auto":
        return memory is not None and TRAINED_BYTES * trained + READ_BYTES * read > ROOM * memory
    return sharding == "always"


def memory_of(device: torch.device) -> int | None:
    """Bytes of a GPU; None of a processor."""
    return torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else None


def shard(model: nn.Module, blocks: nn.ModuleList, *, size: int, device: torch.device, methods: Iterable[str]) -> None:
    """Split a model over all processes, in place.

    Args:
        blocks: of `model`, gathered one by one.
        methods: of `model`, beside `forward`, that read weights and are called from outside.
    """
    # It fears work in place on what a module returns; nothing of ours does that.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(device.type, (size,))
    for module in (*blocks, model):
        sharded = fully_shard(module, mesh=mesh)
        sharded.set_gradient_divide_factor(1.0)  # losses are weighed by their share of the batch: sums, not means
        sharded.set_force_sum_reduction_for_comms(True)  # gloo knows no other
    for method in methods:
        register_fsdp_forward_method(model, method)


def is_sharded(module: nn.Module) -> bool:
    """Whether `shard` was called on it."""
    return isinstance(module, FSDPModule)


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Keep blocks whole once they are, as for many passes that change nothing; models that are not split stay so."""
    parts = [module for module in model.modules() if isinstance(module, FSDPModule) and module is not model]
    for part in parts:
        part.set_reshard_after_forward(False)
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True)
            part.reshard()


def whole(tensor: Tensor) -> Tensor:
    """A split tensor gathered from all processes, which must all ask; any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def all_whole(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Each of some tensors whole, the split ones on the processor; one that has two names is the same under both.

    Args:
        keep: True in the first process; the others only take part, and their result is empty.
    """
    found: dict[str, Tensor] = {}
    firsts: dict[object, Tensor] = {}
    for name, tensor in tensors.items():
        one = whole(tensor)  # also of a second name: all processes must ask alike
        if keep and isinstance(tensor, DTensor):
            found[name] = firsts.setdefault((own_part(tensor).data_ptr(), tensor.shape), one.cpu())
        elif keep:
            found[name] = one
    return found


def split_as(like: Tensor, tensor: Tensor) -> Tensor:
    """A tensor that every process has whole, split as another is."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def own_part(tensor: Tensor) -> Tensor:
    """What this process has of it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
