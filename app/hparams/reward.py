"""How reward models are built and trained."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.hparams.base import HParams, Positive, Rate
from app.kinds import Verdict


class Pooling(StrEnum):
    """Which tokens' hidden states the scalar head reads."""

    LAST = "last"
    """The last real token, as in the paper."""
    MEAN = "mean"
    """The mean over all real tokens of query and response."""
    ATTENTION = "attention"
    """A weighted mean over them, the weights a softmax of a learned linear score; tuned heads only."""


class Readout(HParams):
    """One place where a head reads hidden states."""

    pooling: Pooling = Pooling.LAST
    depth: Annotated[float, Field(gt=0, le=1)] = 1.0
    """As a fraction of the model's layers; 1 is the output of the final norm."""


class RewardHead(HParams):
    """One way to build a reward model from the reference."""

    readouts: Annotated[tuple[Readout, ...], Field(min_length=1)] = (Readout(),)
    """The linear head reads all of them side by side."""
    tuned: bool = False
    """True trains by Adam, trunk included; False trains a linear head on cached features of the frozen reference."""

    @model_validator(mode="after")
    def _attention_is_tuned(self) -> Self:
        if not self.tuned and any(one.pooling is Pooling.ATTENTION for one in self.readouts):
            raise ValueError("attention pooling learns its weights: set tuned to true, or choose mean or last")
        return self


PAPER_HEAD = RewardHead(tuned=True)
MIDDLE_MEANS = tuple(Readout(pooling=Pooling.MEAN, depth=depth) for depth in (0.33, 0.5, 0.67))
PROBE_HEADS = (
    RewardHead(readouts=(*MIDDLE_MEANS, Readout())),
    RewardHead(readouts=MIDDLE_MEANS),
    *(RewardHead(readouts=(readout,)) for readout in MIDDLE_MEANS),
)


class RewardHParams(HParams):
    """Reward model training."""

    heads: Annotated[tuple[RewardHead, ...], Field(min_length=1)] = (PAPER_HEAD,)
    """Candidates; with more than one the lowest held-out loss (cross-validated by prompt) wins."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Folds of that cross-validation."""
    seeds: Positive = 1
    """Tuned heads: so many trainings that differ in head and order; the lowest held-out loss is kept."""
    ensemble: Positive = 1
    """Members whose mean is the score and whose standard deviation is the disagreement; each on labels drawn anew."""
    tie_labels: Literal["drop", "even"] = "drop"
    """`even`: a tie trains toward equal scores; `drop`: it trains nothing and the schedule does not count it."""
    none_labels: Literal["drop", "even"] = "drop"
    """The same for the answer that none is good."""
    surplus_labels: Literal["drop", "use"] = "drop"
    """Answers that came when no more were wanted: `use` lets one stand in where no other answer to its comparison
    counts, say because a labeler was excluded since."""
    label_weights: Literal["equal", "reliability"] = "equal"
    """`reliability`: a label weighs as much as its labeler knows, by one-coin Dawid-Skene on comparisons that several
    people answered; somebody of whom nothing is known yet weighs as much as the others on average."""
    query: Literal["formatted", "raw"] = "formatted"
    """What the reward model reads before the response: `raw` leaves out prefix and suffix, as published."""
    learning_rate: Rate = 1.77e-5
    """Adam, tuned trunks only; linear to 0."""
    adam_epsilon: Rate = 1e-5
    """Keeps Adam\'s denominator from zero."""
    batch: Positive = 8
    """Comparisons per optimizer step, tuned trunks only."""
    epochs: Positive = 1
    """Passes over the labels; tuned heads."""
    normalization_samples: Positive = 256
    """Reference samples whose scores are brought to mean 0 and standard deviation 1."""

    @property
    def used_verdicts(self) -> tuple[Verdict, ...]:
        """Answers that train and that the schedule counts."""
        even = {Verdict.TIE: self.tie_labels, Verdict.NONE: self.none_labels}
        return (Verdict.BEST, *(verdict for verdict, use in even.items() if use == "even"))

    @property
    def uses_surplus(self) -> bool:
        """Whether an answer that was no longer wanted may stand in for one that does not count."""
        return self.surplus_labels == "use"
