"""GPT-2's shapes, what they cost in operations, and what this machine can do at most."""

import platform
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

VOCABULARY = 50257
LANES = ("fp32", "fp32-onednn", "bf16")
"""Products in float32 as PyTorch does them by default, by oneDNN where that stays float32, and in bfloat16."""

REWARDS = ("model", "head")
"""A reward model of the policy's size, or a head on hidden states of the reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A GPT-2 of some size."""

    layers: int
    width: int
    heads: int

    def model(self) -> GPT2LMHeadModel:
        """Random weights from torch's global generator."""
        config = GPT2Config(n_layer=self.layers, n_embd=self.width, n_head=self.heads, vocab_size=VOCABULARY)
        return GPT2LMHeadModel(config)

    def block(self, tokens: int) -> float:
        """Operations of one block's products over one text."""
        return 2 * 12 * self.width**2 * tokens + 4 * self.width * tokens**2

    def head(self, tokens: int) -> float:
        """Operations of the LM head."""
        return 2 * VOCABULARY * self.width * tokens


SHAPES = {
    "tiny": Shape(layers=2, width=64, heads=2),
    "124m": Shape(layers=12, width=768, heads=12),
    "355m": Shape(layers=24, width=1024, heads=16),
    "774m": Shape(layers=36, width=1280, heads=20),
    "1.5b": Shape(layers=48, width=1600, heads=25),
}


def episode_operations(
    shape: Shape,
    query: int,
    response: int,
    epochs: int,
    *,
    separate: bool = False,
    frozen: int = 0,
    head: bool = False,
) -> float:
    """Operations that one PPO episode needs if nothing is computed twice.

    Sampling with its cache, the reference, a reward model, and forward and backward passes over the blocks that train;
    the LM head on the response alone. Blocks count whole: the yardstick of all sides, though ours leaves most of the
    last block out for tokens that nobody reads.

    Args:
        separate: values come from a network of their own.
        frozen: lowest layers that are computed once, while sampling.
        head: the reward model is a head on the reference, which costs nothing.
    """
    text, trained = query + response, shape.layers - frozen
    sampling = shape.layers * shape.block(text) + shape.head(response)
    reference = trained * shape.block(text) + shape.head(response)
    reward = 0.0 if head else shape.layers * shape.block(text)
    passes = 3 * trained * shape.block(text) + (2 if frozen else 3) * shape.head(response)
    values = (shape.layers * shape.block(text)) * (1 + 3 * epochs) if separate else 0.0
    return sampling + reference + reward + epochs * passes + values


def set_lane(lane: str) -> bool:
    """Set the precision of float32 products; whether the lane runs under bfloat16 autocast."""
    torch.set_float32_matmul_precision("medium" if lane == "fp32-onednn" else "highest")
    return lane == "bf16"


def matrix_ceiling(shape: Shape, rows: int, *, bf16: bool, device: str = "cpu", seconds: float = 1.0) -> float:
    """Operations per second of the largest product of a block: the best of as many as fit into the time."""
    kind = torch.bfloat16 if bf16 else torch.float32
    left = torch.randn(rows, shape.width, device=device).to(kind)
    right = torch.randn(shape.width, 4 * shape.width, device=device).to(kind)
    best, until = 0.0, time.perf_counter() + seconds
    with torch.inference_mode():
        while time.perf_counter() < until:
            began = time.perf_counter()
            left @ right
            if device == "cuda":
                torch.cuda.synchronize()
            best = max(best, 8 * rows * shape.width**2 / (time.perf_counter() - began))
    return best


def machine() -> dict[str, object]:
    """What figures of this machine are to be read beside."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    return {
        "cpu": cpu,
        "threads": torch.get_num_threads(),
        "bf16_instructions": sorted(flags & {"avx512_bf16", "amx_bf16"}),
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
