"""Prompts cut from longer texts, such as the pages of a book.

Source: Ziegler et al. 2019, section 3; lm-human-preferences language/datasets.py.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

from transformers import PreTrainedTokenizerBase

from app.errors import InvalidError
from app.hparams import TaskHParams
from workers.nets.tokenizer import exact_id, start_tokens, token_ids


class BuiltPrompts(NamedTuple):
    """Prompts that are ready to be continued."""

    texts: list[str]
    skipped: int
    """Texts that gave no query: without a start or an end token, or too short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryCut:
    """Where a query begins and ends in the tokens of a text."""

    start: int | None
    """Everything through the first of these is dropped, unless nothing would follow it."""
    end: int | None
    """A query ends after the last of these among its first `most` tokens."""
    least: int
    most: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, task: TaskHParams) -> Self:
        """Raises: ValueError if the task's start or end is not exactly one token of this tokenizer."""
        return cls(
            start=None if task.query_start is None else exact_id(tokenizer, task.query_start),
            end=None if task.query_end is None else exact_id(tokenizer, task.query_end),
            least=task.min_query_tokens,
            most=task.query_tokens - len(start_tokens(tokenizer)),  # so that encoding cuts nothing more
        )

    def __call__(self, ids: list[int]) -> list[int] | None:
        """The query in the token ids of a text; None if there is none."""
        if self.start is not None:
            if self.start not in ids:
                return None
            ids = ids[ids.index(self.start) + 1 :] or ids
        ids = ids[: self.most]
        if self.end is not None:
            if self.end not in ids:
                return None
            ids = ids[: len(ids) - ids[::-1].index(self.end)]
        return ids if len(ids) >= self.least else None


def build_query(tokenizer: PreTrainedTokenizerBase, text: str, task: TaskHParams) -> list[int] | None:
    """The token ids of the query that a longer text gives, its beginning kept; None if it gives none.

    Raises: ValueError as `QueryCut.of`.
    """
    return QueryCut.of(tokenizer, task)(token_ids(tokenizer, text))


def cutter(tokenizer: PreTrainedTokenizerBase, task: TaskHParams) -> Callable[[str], str | None]:
    """What cuts the prompt out of a longer text; it gives None where there is none.

    Raises: InvalidError if the task's start or end is not exactly one token of this tokenizer.
    """
    try:
        cut = QueryCut.of(tokenizer, task)
    except ValueError as error:
        raise InvalidError(f"Cannot cut prompts: {error}.") from error

    def prompt_of(text: str) -> str | None:
        ids = cut(token_ids(tokenizer, text))
        prompt = "" if ids is None else tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return prompt if prompt.strip() else None

    return prompt_of


def build_prompts(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, task: TaskHParams) -> BuiltPrompts:
    """The prompts that longer texts give, in their order.

    Raises: InvalidError as `cutter`.
    """
    cut = cutter(tokenizer, task)
    found = [cut(text) for text in texts]
    prompts = [prompt for prompt in found if prompt is not None]
    return BuiltPrompts(prompts, len(found) - len(prompts))
