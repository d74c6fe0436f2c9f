"""What all hyperparameters have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class HParams(BaseModel):
    """Frozen; unknown names and numbers that are none, NaN and infinities, are refused."""

    # A docstring below a field is its description, for forms and the API.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
