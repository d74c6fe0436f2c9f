"""How comparisons are handed out: how many people answer each, what is mixed in, how much one person may do."""

from typing import Annotated, Literal

from pydantic import Field

from app.hparams.base import Fraction, HParams, Positive


class CollectionHParams(HParams):
    """Label collection, beside its schedule."""

    overlap_share: Fraction = 0.05
    """Share of comparisons that several people answer, each without knowing of the others."""
    overlap_labelers: Annotated[int, Field(ge=2)] = 5
    """How many people these want; the others want one."""
    validation_share: Fraction = 0.05
    """Share of comparisons on train prompts that set samples of the serving policy against as many of the reference;
    none while the reference itself serves. They train like others."""
    gold_share: Fraction = 0.05
    """Probability that a lease is a gold comparison instead, where the run has one that the labeler has not seen."""
    repeat_share: Fraction = 0.02
    """Probability that a lease is a comparison again that the same labeler answered a while ago."""
    selection: Literal["age", "disagreement"] = "age"
    """Which comparison comes next: the oldest, or the one about which an ensemble of reward models disagrees most."""
    random_share: Fraction = 0.25
    """With `disagreement`: probability of a comparison drawn evenly from those at hand instead. What measures
    (validation, and prompts that train nothing) is always taken by age."""
    labels_per_day: Positive | None = None
    """Answers of one labeler on one day (UTC); None: no bound."""
    labels_per_labeler: Positive | None = None
    """Answers of one labeler in the run; None: no bound."""
