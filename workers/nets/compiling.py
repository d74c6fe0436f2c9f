"""Transformer blocks compiled for passes over whole texts, as training runs them."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch._functorch import config as functorch_config
from transformers import Cache

from workers.nets.language_model import LanguageModel

BACKEND = "inductor"


def compile_blocks(model: LanguageModel, *, backend: str = BACKEND) -> None:
    """Compile each block's forward pass, and the backward pass it leads to, in place; weights and results stay.

    All blocks share what is compiled, once for texts of whatever number and length. Passes that keep keys and values,
    as sampling does, run the block as it stands: on a GPU they are replayed as one graph anyway. The hooks by which
    hidden states are taken and put in are called around the compiled code.
    """
    functorch_config.donated_buffer = False  # detectors ask for a second gradient of the same pass
    for block in model.blocks:
        block.forward = _without_cache(block.forward, torch.compile(block.forward, backend=backend, dynamic=True))


def _without_cache(plain: Callable[..., Any], compiled: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def forward(*args: Any, **kwargs: Any) -> Any:
        cached = any(isinstance(value, Cache) for value in (*args, *kwargs.values()))
        return (plain if cached else compiled)(*args, **kwargs)

    return forward
