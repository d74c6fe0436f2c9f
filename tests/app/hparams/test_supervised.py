"""The published settings of supervised fine-tuning, and the rates between its bounds."""

import pytest
from pydantic import ValidationError

from app.hparams import SupervisedHParams


def test_the_published_settings() -> None:
    plain = SupervisedHParams()
    assert (plain.epochs, plain.dropout) == (1, 0.1)
    assert len(plain.learning_rates) == 8
    assert (plain.learning_rates[0], plain.learning_rates[-1]) == pytest.approx((1e-4, 3e-4))
    # Even on a logarithmic scale: 3^(1/7) from one to the next.
    ratios = [high / low for low, high in zip(plain.learning_rates, plain.learning_rates[1:], strict=False)]
    assert ratios == pytest.approx([3 ** (1 / 7)] * 7)


def test_one_rate_lies_in_the_middle() -> None:
    assert SupervisedHParams(rates=1, lowest_rate=1e-4, highest_rate=1e-2).learning_rates == pytest.approx((1e-3,))


def test_bounds_that_are_swapped_are_refused() -> None:
    with pytest.raises(ValidationError, match="lowest_rate must not exceed highest_rate"):
        SupervisedHParams(lowest_rate=1e-2, highest_rate=1e-3)
