"""Supervised fine-tuning, the baseline (Ziegler et al. 2019, section 2.2)."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from app.hparams.base import HParams, Positive, Rate


class SupervisedHParams(HParams):
    """Fine-tuning on texts or on references to prompts; the best of several learning rates is kept."""

    rates: Positive = 8
    """Learning rates tried, each from the base model; the lowest loss on held-out rows wins."""
    lowest_rate: Rate = 1e-4
    """Of Adam; the rates between stand evenly on a logarithmic scale."""
    highest_rate: Rate = 3e-4
    epochs: Positive = 1
    """Passes over the rows; the rate falls to 0 over all of them along a cosine."""
    batch: Positive = 32
    """Rows per optimizer step."""
    micro_batch: Positive = 8
    """Rows per forward and backward pass; changes memory, and without dropout never the result."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Wherever the model has a place for it; some architectures have none."""
    max_tokens: Positive = 512
    """Longest text or reference, in tokens; longer ones lose their end."""
    end_token: bool = True
    """The tokenizer's end-of-text token is learned after every text or reference that was not cut. Leave it out where a
    run's task goes on after it (`task.eos_ends` is false) and its responses are longer than the references."""

    @model_validator(mode="after")
    def _rates_in_order(self) -> Self:
        if self.lowest_rate > self.highest_rate:
            raise ValueError("lowest_rate must not exceed highest_rate")
        return self

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """Rising; a single one is the geometric mean of the bounds."""
        low, high = self.lowest_rate, self.highest_rate
        if self.rates == 1:
            return ((low * high) ** 0.5,)
        return tuple(low * (high / low) ** (i / (self.rates - 1)) for i in range(self.rates))
