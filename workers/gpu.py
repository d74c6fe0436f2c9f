"""How much memory the GPU of this process has and how much of it is taken."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuMemory:
    """Of the current CUDA device, in bytes."""

    name: str
    used: int
    """By all processes."""
    reserved: int
    """By this one's allocator."""
    total: int


def memory() -> GpuMemory | None:
    """None: this process computes on the processor."""
    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    name = torch.cuda.get_device_name()
    return GpuMemory(name=name, used=total - free, reserved=torch.cuda.memory_reserved(), total=total)
