"""Bounds: what lies within passes, what does not is named with its number."""

import math

import pytest
import torch

from workers.rlhf.guards import (
    GuardError,
    checksum,
    cosine,
    deviation,
    require_at_least,
    require_at_most,
    require_finite,
)


def test_a_value_at_its_bound_passes_and_one_beyond_is_named() -> None:
    require_at_most("ratio", 0.5, 0.5, "do something")
    require_at_least("entropy", 0.5, 0.5, "do something")
    with pytest.raises(GuardError, match=r"^ratio is 0\.6, beyond its bound of 0\.5: do something$") as caught:
        require_at_most("ratio", 0.6, 0.5, "do something")
    assert caught.value.guard == "ratio"
    with pytest.raises(GuardError, match=r"^entropy is 0\.4, below its bound of 0\.5: do something$"):
        require_at_least("entropy", 0.4, 0.5, "do something")


def test_what_is_no_number_lies_within_no_bound() -> None:
    with pytest.raises(GuardError, match="is nan"):
        require_at_most("ratio", math.nan, 1.0, "")
    with pytest.raises(GuardError, match="is nan"):
        require_at_least("ratio", math.nan, 1.0, "")
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(GuardError, match="not a finite number"):
            require_finite("loss", value, "")
    require_finite("loss", -3.0, "")


def test_the_tail_leaves_out_one_error_in_a_thousand() -> None:
    # 1998 errors of 0, one of 1 and one of 5: of two thousand, 1998 (99.9 %) are at most 0.
    errors = torch.zeros(2000)
    errors[7], errors[1500] = 5.0, 1.0
    assert deviation(errors) == pytest.approx((6 / 2000, 0.0, 5.0))
    errors[9] = 0.5
    assert deviation(errors).tail == 0.5
    assert deviation(torch.tensor([0.25])) == pytest.approx((0.25, 0.25, 0.25))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("size", [1, 5, 8])
def test_the_checksum_sees_the_last_bit_of_one_weight(dtype: torch.dtype, size: int) -> None:
    weights = [torch.ones(size, dtype=dtype), torch.arange(6.0).view(2, 3).to(dtype)]
    before = checksum(weights)
    assert checksum([weight.clone() for weight in weights]) == before
    bits = weights[0].view({2: torch.int16, 4: torch.int32, 8: torch.int64}[weights[0].element_size()])
    bits[-1] += 1
    assert checksum(weights) != before
    bits[-1] -= 1
    assert checksum(weights) == before


def test_a_checksum_by_hand() -> None:
    # 1.0 is 0x3f800000; three of them are added byte by byte (12 bytes), two as one number of eight bytes.
    assert checksum([torch.ones(3)]) == 3 * (0x3F + 0x80)
    assert checksum([torch.ones(2)]) == 0x3F8000003F800000


def test_the_cosine_is_taken_over_all_tensors_together() -> None:
    # (3, 0, 4) and (0, 0, 1): 4 / 5.
    one, other = (torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])), (torch.zeros(2), torch.tensor([[1.0]]))
    assert cosine(one, other) == pytest.approx(0.8)
    assert cosine(one, [-part for part in one]) == pytest.approx(-1)
    assert math.isnan(cosine(one, [torch.zeros(2), torch.zeros(1, 1)]))
