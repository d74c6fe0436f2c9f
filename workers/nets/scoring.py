"""What a language model gives each token that may come next, made ready once for one step after another."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from workers.nets.language_model import LanguageModel
from workers.nets.precision import full_precision

MOST = torch.finfo(torch.float16).max


def scorer(model: LanguageModel, temperature: float, *, multiple_of: int) -> Callable[[Tensor], Tensor]:
    """As `LanguageModel.scores` of these arguments, for weights that stay while it is used.

    On GPUs, where TensorFloat-32 is good enough for the LM head (`precision.configure`), its operands are float16: they
    keep as many bits of a number, ten, and are multiplied twice as fast. Sums and scores stay float32.

    Returns: (n, width) float hidden states after the final norm -> (n, v or a little more) float.
    """
    head: nn.Module = model.model.get_output_embeddings()
    if not _fits_half(head):
        return lambda hidden: model.scores(hidden, temperature, multiple_of=multiple_of)
    v, width = head.weight.shape  # type: ignore[misc]
    weight = torch.zeros(v + -v % multiple_of, width, device=model.device, dtype=torch.float16)
    weight[:v] = head.weight.detach()  # type: ignore[operator]

    def scores(hidden: Tensor) -> Tensor:
        rows = (hidden.float() / temperature).clamp(-MOST, MOST).half()
        with full_precision(rows.device):
            found = torch.mm(rows, weight.t(), out_dtype=torch.float32)
        found[:, v:] = -torch.inf
        return found

    return scores


def _fits_half(head: nn.Module) -> bool:
    """Whether its numbers lie within float16's range and float16's precision is allowed."""
    if type(head) is not nn.Linear or head.bias is not None or type(head.weight) is not nn.Parameter:
        return False
    if head.weight.device.type != "cuda" or head.weight.dtype != torch.float32:
        return False
    return torch.get_float32_matmul_precision() == "high" and bool(head.weight.abs().max() < MOST)
