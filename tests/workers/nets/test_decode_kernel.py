"""The kernel of a decode step against plain products, where there is a GPU."""

import pytest
import torch
from torch import nn

from workers.nets.attention import Prefix, grouped_attention, set_prefix

pytestmark = pytest.mark.gpu
SHAPES = [
    (4, 4, 8, 5, 3, 3, 3),
    (2, 6, 16, 70, 9, 2, 4),
    (1, 4, 24, 64, 23, 1, 1),
    (3, 9, 64, 130, 66, 9, 41),
    (12, 12, 64, 64, 23, 4, 12),
]
"""Groups, heads, width, tokens of the prefix, room behind it, rows that continue each, tokens written so far."""


@pytest.mark.parametrize(("groups", "heads", "width", "before", "room", "copies", "written"), SHAPES)
def test_it_attends_as_products_do(
    groups: int, heads: int, width: int, before: int, room: int, copies: int, written: int
) -> None:
    generator = torch.Generator().manual_seed(groups)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    rows = 2 * copies
    prefix = Prefix(drawn(2, groups, before, width), drawn(2, groups, before, width), torch.tensor([written - 1]))
    query, key, value = (
        drawn(rows, 1, heads, width),
        drawn(rows, groups, room, width),
        drawn(rows, groups, room, width),
    )
    bias = torch.zeros(rows, 1, 1, before + room).masked_fill(drawn(rows, 1, 1, before + room) < -0.5, -1e30)
    bias[..., before + written :] = -1e30
    bias[0, ..., :before] = -1e30  # nothing but its own tokens, the newest of which every row sees
    bias[..., before + written - 1] = 0
    found = []
    for device in ("cpu", "cuda"):
        own = key.to(device)
        set_prefix(own, Prefix(*(part.to(device) for part in prefix)))
        asked = query.to(device).transpose(1, 2)
        mixed, _ = grouped_attention(nn.Identity(), asked, own, value.to(device), bias.to(device))
        found.append(mixed.cpu())
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)
