"""Transformer blocks compiled for passes over whole texts, as training runs them."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import Cache

from workers.nets.language_model import LanguageModel

BACKEND = "inductor"


def compile_all(*modules: nn.Module) -> None:
    """Compile the blocks of every language model in these; one that is compiled stays as it is."""
    for model in (part for module in modules for part in module.modules()):
        if isinstance(model, LanguageModel) and not isinstance(model.blocks[0].forward, _Compiled):
            compile_blocks(model)


def compile_blocks(model: LanguageModel, *, backend: str = BACKEND) -> None:
    """Compile each block's forward pass, and the backward pass it leads to, in place; weights and results stay.

    All blocks share what is compiled, once for texts of whatever number and length. Passes that keep keys and values,
    as sampling does, run the block as it stands: on a GPU they are replayed as one graph anyway. The hooks by which
    hidden states are taken and put in are called around the compiled code.
    """
    for block in model.blocks:
        block.forward = _Compiled(block.forward, torch.compile(block.forward, backend=backend, dynamic=True))


class _Compiled:
    """A block's forward pass in both forms."""

    def __init__(self, plain: Callable[..., Any], compiled: Callable[..., Any]) -> None:
        functools.update_wrapper(self, plain)
        self._plain, self._compiled = plain, compiled

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        cached = any(isinstance(value, Cache) for value in (*args, *kwargs.values()))
        return (self._plain if cached else self._compiled)(*args, **kwargs)
