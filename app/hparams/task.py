"""What is asked of the model and of people."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from app.hparams.base import HParams, Positive, Rate


class TaskHParams(HParams):
    """A task: how a query is made, what counts as an answer."""

    question: str
    """Shown above the samples."""
    query_tokens: Positive = 64
    """Longest query, in tokens, prefix and suffix not counted; longer ones lose their beginning."""
    min_query_tokens: Positive = 1
    """Shorter texts give no query when prompts are cut from longer texts."""
    query_start: str | None = None
    """When prompts are cut from longer texts: everything through the first token that is this text is dropped."""
    query_end: str | None = None
    """When prompts are cut from longer texts: a query ends after the last token that is this text."""
    prefix: str = ""
    """Stands before the query for the policy and the reference."""
    suffix: str = ""
    """Stands after it."""
    response_tokens: Positive = 24
    """Sampled length, always exactly this many tokens."""
    terminator: str | None = "."
    """A sample ends at the first token whose text ends so; None: no truncation and every sample is valid."""
    terminator_match: Literal["ends", "exact"] = "ends"
    """`ends`: every token whose text ends so; `exact`: the one token that is this text, as published."""
    eos_ends: bool = False
    """The tokenizer's own end-of-text token ends a sample too, under the same rule."""
    min_terminator_index: Annotated[int, Field(ge=0)] = 16
    """0-based index in the response from which the terminator counts."""
    temperature: Rate = 0.7
    """Divides every logit, of policy and reference alike, when sampling and in log-probs."""
    invalid_score: float = -1.0
    """Replaces the reward model's score where no terminator was found."""
    max_sampling_rounds: Positive = 16
    """Rejection sampling gives a prompt up after this many rounds of `samples_per_comparison` samples."""
    summary: bool = False
    """The response retells the prompt: how much it copies is measured, and a copier stops the line."""
    samples_per_comparison: Annotated[int, Field(ge=2, le=9)] = 4
    """People pick the best of so many; 2 asks for pairs. Nine at most: each has a number key."""

    @property
    def ends(self) -> bool:
        """Whether anything ends a sample before its last token."""
        return self.terminator is not None or self.eos_ends

    @model_validator(mode="after")
    def _terminator_fits(self) -> Self:
        if self.ends and self.min_terminator_index >= self.response_tokens:
            raise ValueError("min_terminator_index must be below response_tokens, or no sample is ever valid")
        if self.min_query_tokens > self.query_tokens:
            raise ValueError("min_query_tokens must not exceed query_tokens, or no text gives a query")
        return self
