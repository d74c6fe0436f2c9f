"""Which policies people see, and what stops the line by itself."""

from typing import Annotated

from pydantic import Field

from app.hparams.base import Fraction, HParams, Positive, Rate

Error = Annotated[float, Field(gt=0, lt=1)]


class PromotionHParams(HParams):
    """When a candidate begins to write the samples people see, and when a serving policy ceases to."""

    kl_factor: Rate = 4.0
    """A candidate whose KL exceeds the target by this factor is held back."""
    least_valid: Fraction = 0.05
    """So is one that ends fewer of its samples in time: sampling for people would hardly come to an end."""
    strict: bool = False
    """A candidate is shown in validation comparisons alone, until it is known to be no worse than the reference."""
    margin: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """Strict: "no worse" means a share of won validation comparisons over a half less this."""
    error: Error = 0.05
    """Strict: probability that a worse candidate is let through, and that one as good as the reference is refused."""
    most_comparisons: Positive = 200
    """Strict: a candidate that is not let through by then is held back."""
    demotion_error: Error | None = 0.01
    """A serving policy that loses blind comparisons against the reference gives way to the one before it; probability
    in a whole run that one which is as good does. None: never."""


class AndonHParams(HParams):
    """When the plant pulls the cord. What an update shows of itself is bounded in `ppo.guards`; None: not looked at."""

    trend_error: Error | None = 1e-3
    """Scores of fresh samples fall while what is optimised rises: p-value of each of the two trends."""
    trend_updates: Annotated[int, Field(ge=10)] = 80
    """Longest stretch of updates in which a trend is looked for; halves of it too, down to 10."""
    lost_error: Error | None = 0.01
    """The policies lose blind comparisons against the reference: probability of a false pull in a whole run."""
    contradiction_error: Error | None = 0.01
    """People choose what the reward model puts into the lower half: probability of a false pull in a whole run."""
    kl_factor: Rate | None = 4.0
    """Largest KL as a multiple of the target."""
    kl_most: Rate | None = 100.0
    """Largest KL in nats per response where there is no target."""
    kl_least: float | None = -1.0
    """Smallest KL in nats per response; it is above 0 but for noise."""
    entropy_share: Fraction | None = 0.2
    """Smallest entropy as a share of that of the first updates."""
    valid_share: Fraction | None = 0.25
    """Smallest share of samples that end in time, as a share of that of the first updates, beyond chance."""
    novel_share: Fraction | None = 0.25
    """Summaries alone: smallest share of the policy's sentences that do not stand in their source, as a share of the
    reference's, beyond chance."""
    band_updates: Positive = 5
    """Updates over which KL, entropy and valid samples are averaged, and how many are the first."""
