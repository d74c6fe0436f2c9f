"""Activations as one operation each."""

from torch import nn
from transformers.activations import FastGELUActivation, NewGELUActivation

COMPOSED = (NewGELUActivation, FastGELUActivation)
"""GELU by its tanh approximation, spelled out in eight operations over the widest tensors of a model (GPT-2, GPT-J)."""


def fuse_activations(model: nn.Module) -> int:
    """Put torch's own operation in the place of each composed one: the same function, read and written once.

    Returns: how many were replaced.
    """
    found = [
        (parent, name)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, COMPOSED)
    ]
    for parent, name in found:
        setattr(parent, name, nn.GELU(approximate="tanh"))
    return len(found)
