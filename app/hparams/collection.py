"""How comparisons are handed out: how many people answer each, how much one person may do."""

from typing import Annotated

from pydantic import Field

from app.hparams.base import Fraction, HParams, Positive


class CollectionHParams(HParams):
    """Label collection, beside its schedule."""

    overlap_share: Fraction = 0.05
    """Share of comparisons that several people answer, each without knowing of the others."""
    overlap_labelers: Annotated[int, Field(ge=2)] = 5
    """How many people these want; the others want one."""
    labels_per_day: Positive | None = None
    """Answers of one labeler on one day (UTC); None: no bound."""
    labels_per_labeler: Positive | None = None
    """Answers of one labeler in the run; None: no bound."""
