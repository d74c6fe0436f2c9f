"""How precisely, and on how many threads, matrices are multiplied."""

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

MAX_RELATIVE_ERROR = 1e-5
"""Beyond this a faster kernel for float32 products does not count as float32."""
_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """What `configure` found and set."""

    bf16: bool
    """The hardware multiplies bfloat16 faster than float32: run with `autocast`."""
    matmul: str
    """PyTorch's precision of float32 products: `medium` takes faster kernels, `highest` the default ones, `high`
    TensorFloat-32."""
    relative_error: float
    """Measured error of a float32 product under that setting."""
    threads: int


def configure(device: torch.device | str = "cpu", threads: int = 0) -> Precision:
    """Set the fastest kernels that keep float32 precise, and the threads of this process.

    `medium` only allows less precise kernels. On CPUs without bfloat16 tiles it means other kernels of full precision:
    up to twice as fast on those of other makers than Intel's, whose own library holds back there, and slower for small
    products on Intel's. Elsewhere it would mean a loss, so the error is measured before it is kept. Speed is not
    measured: kernels chosen by chance would end the equality of a resumed run with an unbroken one.

    GPUs with bfloat16 take TensorFloat-32 (`high`) for what is left in float32 beside it, the LM head: it rounds an
    eighth as coarsely as bfloat16 has rounded the hidden states it reads, and is several times faster.

    Args:
        device: the one the training runs on.
        threads: 0 leaves the number as it is.
    """
    if threads:
        torch.set_num_threads(threads)
    bf16 = has_fast_bf16(device)
    if bf16 and torch.device(device).type == "cuda":
        torch.set_float32_matmul_precision("high")
        return _found(device, bf16)
    torch.set_float32_matmul_precision("highest" if _is_intel(device) else "medium")
    if _matmul_error(device) > MAX_RELATIVE_ERROR:
        torch.set_float32_matmul_precision("highest")
    return _found(device, bf16)


@contextmanager
def exact() -> Iterator[None]:
    """Float32 products without a loss, also where `configure` allowed one: two ways of computing are held together."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def has_fast_bf16(device: torch.device | str = "cpu") -> bool:
    """True on GPUs with bfloat16 and on CPUs with instructions for its products."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.device(device).type == "cpu" and bool(_CPU_FLAGS & _cpu_flags())


def autocast(device: torch.device | str, enabled: bool) -> AbstractContextManager[object]:
    """Products in bfloat16, weights and sums in float32, while the context is open.

    Open one per forward pass and leave it before the optimizer's step: within it, weights are cast once and kept.
    """
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=enabled)


def full_precision(device: torch.device | str) -> AbstractContextManager[object]:
    """Products in the operands' own type, also inside `autocast`."""
    return torch.autocast(torch.device(device).type, enabled=False)


def _found(device: torch.device | str, bf16: bool) -> Precision:
    matmul = torch.get_float32_matmul_precision()
    return Precision(bf16=bf16, matmul=matmul, relative_error=_matmul_error(device), threads=torch.get_num_threads())


def _matmul_error(device: torch.device | str) -> float:
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 512, 512, generator=generator).to(device)
    exact = left.double() @ right.double()
    return float(((left @ right).double() - exact).abs().max() / exact.abs().max())


def _is_intel(device: torch.device | str) -> bool:
    return torch.device(device).type == "cpu" and "GenuineIntel" in _cpu_facts("vendor_id")


def _cpu_flags() -> frozenset[str]:
    return _cpu_facts("flags")


@functools.cache
def _cpu_facts(name: str) -> frozenset[str]:
    """The words of one line of what Linux says of the first core; none elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith(name)), "").split())
