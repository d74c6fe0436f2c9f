"""Transformer blocks compiled: for passes over whole texts, as training runs them, and for sampling."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
import torch
from torch import Tensor, nn
from torch._dynamo import config as tracing
from torch.fx.experimental import _config as shapes
from transformers import Cache
from transformers.pytorch_utils import Conv1D

from workers.nets.decoding import FixedLayer, QueryLayer
from workers.nets.language_model import LanguageModel
from workers.nets.last_block import splits_last

BACKEND = "inductor"
CAST = (nn.Linear, Conv1D)
"""Modules whose weights autocast casts whole."""

FORMS = 16
"""Of sampling that a process may compile: queries and steps, of each model and precision, and of a single row."""

log = structlog.get_logger()


def compile_all(*modules: nn.Module) -> None:
    """Compile the blocks of every language model in these; one that is compiled stays as it is."""
    for model in (part for module in modules for part in module.modules()):
        if isinstance(model, LanguageModel) and not is_compiled(model):
            compile_blocks(model)


def is_compiled(model: LanguageModel) -> bool:
    """Whether `compile_blocks` was called on it."""
    return isinstance(model.blocks[0].forward, _Compiled)


def compile_blocks(model: LanguageModel, *, backend: str = BACKEND, steps_on: tuple[str, ...] = ("cuda",)) -> None:
    """Compile each block's forward pass, and the backward pass it leads to, in place; weights and results stay.

    All blocks share what is compiled, once for texts of whatever number and length, and twice more for sampling: for
    the queries, and for decode steps. A scale of attention that differs from layer to layer is compiled for each. Where
    a block cannot be compiled for sampling it runs as it stands. The hooks by which hidden states are taken and put in
    are called around the compiled code.

    Args:
        steps_on: kinds of device where sampling runs compiled too: a CPU gains nothing by it.
    """
    splits_last(model)  # tried on plain blocks, which compile nothing for it
    step = _Step(backend, steps_on)
    for number, block in enumerate(model.blocks):
        compiled = torch.compile(block.forward, backend=backend, dynamic=True)
        block.forward = _Compiled(block.forward, compiled, step, number)


def compiles_sampling(model: LanguageModel) -> bool:
    """Whether queries and steps run compiled where it is."""
    form = model.blocks[0].forward
    return isinstance(form, _Compiled) and form.steps_on(model.device.type)


@contextmanager
def cast_ahead(model: LanguageModel) -> Iterator[None]:
    """While open, what autocast would cast of compiled blocks has been cast: they would do it again at each step."""
    kind = model.device.type
    wanted = compiles_sampling(model) and torch.is_autocast_enabled(kind)
    # Not what is split over processes, which is gathered later.
    kept = [
        (module, name, value)
        for module in (model.blocks.modules() if wanted else ())
        if type(module) in CAST
        for name, value in module.named_parameters(recurse=False)
        if type(value) is nn.Parameter and value.dtype == torch.float32
    ]
    try:
        for module, name, value in kept:
            cast = value.detach().to(torch.get_autocast_dtype(kind))
            setattr(module, name, nn.Parameter(cast, requires_grad=False))
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)


class _Compiled:
    """A block's forward pass in all its forms."""

    def __init__(self, plain: Callable[..., Any], compiled: Callable[..., Any], step: "_Step", number: int) -> None:
        functools.update_wrapper(self, plain)
        self._plain, self._compiled, self._step, self._number = plain, compiled, step, number

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        cache = next((value for value in (*args, *kwargs.values()) if isinstance(value, Cache)), None)
        if cache is None:
            return self._compiled(*args, **kwargs)
        layer = cache.layers[self._number] if self._number < len(cache.layers) else None
        device = next(value.device.type for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        if not isinstance(layer, QueryLayer | FixedLayer) or not self.steps_on(device):
            return self._plain(*args, **kwargs)
        # Its own layer in the place of the cache, which would be compiled for each block's number.
        own = [layer if value is cache else value for value in args]
        named = {name: layer if value is cache else value for name, value in kwargs.items()}
        try:
            return self._step(self._plain, own, named)
        except _UntraceableError as error:
            log.warning("decoding_not_compiled", reason=str(error))
            return self._plain(*args, **kwargs)  # writes the same keys and values to the same place

    def steps_on(self, device: str) -> bool:
        """Whether decode steps run compiled on such a device."""
        return device in self._step.devices


class _UntraceableError(Exception):
    """Raised where a compiler does not know what to make of a block."""


class _Step:
    """Queries, or the next token of every row, through one block: one compiled function for all blocks of a model."""

    def __init__(self, backend: str, devices: tuple[str, ...]) -> None:
        self._run = torch.compile(_run, backend=backend, dynamic=True, fullgraph=True)
        self.devices = devices

    def __call__(self, forward: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
        try:
            with _traced_once():
                return self._run(forward, args, kwargs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # in whatever way such an architecture fails
            self.devices = ()
            # The first line may name no more than the compiler.
            raise _UntraceableError(" ".join(str(error).split("\n")[:2]).strip()) from error


@contextmanager
def _traced_once() -> Iterator[None]:
    """Else sizes that happen to be equal would have to stay so, and scales that may vary cost a second tracing."""
    with (
        shapes.patch(use_duck_shape=False),  # type: ignore[attr-defined]
        tracing.patch(specialize_float=True, recompile_limit=FORMS),
    ):
        yield


def _run(forward: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    """A function of its own, so that what is compiled for training is not counted with it."""
    return forward(*args, **kwargs)
