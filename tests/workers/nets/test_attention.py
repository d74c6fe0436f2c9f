"""Grouped attention against a loop over heads and tokens."""

import pytest
import torch
from torch import Tensor, nn

from workers.nets.attention import Prefix, fused_attention, grouped_attention, set_prefix


def slow_attention(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
    b, h, t, d = query.shape
    per_group = h // key.shape[1]
    out = torch.zeros(b, t, h, d)
    for row in range(b):
        for head in range(h):
            for token in range(t):
                seen = allowed[row, 0, token].nonzero().flatten()
                keys, values = key[row, head // per_group, seen], value[row, head // per_group, seen]
                weights = (keys @ query[row, head, token] / d**0.5).exp()
                out[row, token, head] = weights / weights.sum() @ values
    return out


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_both_ways_are_attention(groups: int, kind: str, fused: bool) -> None:
    torch.manual_seed(groups)
    query, key, value = torch.randn(2, 4, 3, 8), torch.randn(2, groups, 5, 8), torch.randn(2, groups, 5, 8)
    allowed = torch.ones(2, 1, 3, 5, dtype=torch.bool).tril(2)
    allowed[1, ..., 0] = False
    mask = allowed if kind == "bool" else torch.zeros(2, 1, 3, 5).masked_fill(~allowed, -1e30)
    for scaling, times in ((None, 1), (2 * 8**-0.5, 2)):
        if fused:
            mixed = fused_attention(query, key, value, mask, scaling=scaling)
        else:
            mixed, _ = grouped_attention(nn.Identity(), query, key, value, mask, scaling=scaling)
        torch.testing.assert_close(mixed, slow_attention(times * query, key, value, allowed))


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("texts", [1, 2])
def test_rows_that_continue_one_text_see_it_and_themselves(groups: int, copies: int, texts: int) -> None:
    torch.manual_seed(groups)
    rows = texts * copies
    before = Prefix(torch.randn(texts, groups, 5, 8), torch.randn(texts, groups, 5, 8), torch.tensor([1]))
    query, key, value = torch.randn(rows, 4, 1, 8), torch.randn(rows, groups, 3, 8), torch.randn(rows, groups, 3, 8)
    allowed = torch.ones(rows, 1, 1, 8, dtype=torch.bool)
    allowed[0, ..., :2], allowed[..., 7] = False, False
    keys, values = (
        torch.cat([old.repeat_interleave(copies, 0), new], 2) for old, new in zip(before[:2], (key, value), strict=True)
    )
    expected = slow_attention(query, keys, values, allowed)
    set_prefix(key, before)
    for mask in (allowed, torch.zeros(allowed.shape).masked_fill(~allowed, -1e30)):
        torch.testing.assert_close(grouped_attention(nn.Identity(), query, key, value, mask)[0], expected)


def test_options_that_change_the_result_are_refused() -> None:
    x = torch.zeros(1, 1, 1, 2)
    with pytest.raises(ValueError, match="attention with softcap is not supported"):
        grouped_attention(nn.Identity(), x, x, x, None, softcap=30.0)


def test_dropped_weights_are_made_up_for_by_the_others() -> None:
    torch.manual_seed(3)
    query, key, value = torch.randn(2000, 1, 1, 4), torch.randn(2000, 1, 5, 4), torch.ones(2000, 1, 5, 4)
    mixed, _ = grouped_attention(nn.Identity(), query, key, value, None, dropout=0.25)
    assert mixed.mean() == pytest.approx(1, abs=0.05)
    assert mixed.std() > 0.1
