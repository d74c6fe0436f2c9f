"""The upper part of a trunk as a trunk of its own, so that what lies below is computed once and read many times."""

import copy

from torch import nn


def upper_part(trunk: nn.Module, blocks: nn.ModuleList, layer: int) -> nn.Module:
    """A copy of `trunk` without its lowest `layer` blocks; every weight is the same object as the trunk's.

    Its forward still embeds what it is given: the input of its first block is for the caller to put in.

    Args:
        blocks: the trunk's list of blocks.
        layer: in [0, number of blocks).
    """
    path = next(name for name, module in trunk.named_modules() if module is blocks)
    *parents, last = path.split(".")
    top = module = _shallow(trunk)
    for name in parents:
        child = _shallow(getattr(module, name))
        setattr(module, name, child)
        module = child
    setattr(module, last, blocks[layer:])
    return top


def _shallow(module: nn.Module) -> nn.Module:
    copied = copy.copy(module)
    copied._modules = dict(module._modules)
    return copied
