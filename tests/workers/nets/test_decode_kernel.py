"""The kernel of a decode step against plain products, where there is a GPU."""

import pytest
import torch
from torch import nn

from workers.nets.attention import Prefix, grouped_attention, set_prefix

pytestmark = pytest.mark.gpu
SHAPES = [(4, 4, 8, 5, 3, 3), (2, 6, 16, 70, 9, 2), (1, 4, 24, 64, 23, 1), (3, 9, 64, 130, 66, 4)]
"""Groups, heads, width, tokens of the prefix, tokens behind it, rows that continue each."""


@pytest.mark.parametrize(("groups", "heads", "width", "before", "behind", "copies"), SHAPES)
def test_it_attends_as_products_do(groups: int, heads: int, width: int, before: int, behind: int, copies: int) -> None:
    generator = torch.Generator().manual_seed(groups)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    rows = 2 * copies
    prefix = Prefix(drawn(2, groups, before, width), drawn(2, groups, before, width))
    query, key, value = (
        drawn(rows, 1, heads, width),
        drawn(rows, groups, behind, width),
        drawn(rows, groups, behind, width),
    )
    bias = torch.zeros(rows, 1, 1, before + behind).masked_fill(drawn(rows, 1, 1, before + behind) < -0.5, -1e30)
    found = []
    for device in ("cpu", "cuda"):
        own = key.to(device)
        set_prefix(own, Prefix(*(part.to(device) for part in prefix)))
        asked = query.to(device).transpose(1, 2)
        mixed, _ = grouped_attention(nn.Identity(), asked, own, value.to(device), bias.to(device))
        found.append(mixed.cpu())
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)
