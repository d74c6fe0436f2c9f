"""Samples: what a policy writes after a query, kept only when it ends in time.

People see valid samples alone: each prompt is continued until enough samples are valid, then cut after the terminator.
Source: Ziegler et al. 2019, sections 2.3 and 3.1.2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog
import torch
from torch import Tensor

from app.hparams import TaskHParams
from workers.rlhf.masks import truncate

MAX_DRAWS = 16
"""Most samples of one prompt in one round."""
MAX_ROWS = 128
"""Most samples written at once; bounds the memory of keys and values."""
WATCHED_SAMPLES = 64
"""So many samples tell whether the terminator suits the model."""
FIRST_GUESS = 0.5
"""Share of valid samples assumed before any was seen."""

log = structlog.get_logger()


class Written(Protocol):
    """What one call of a writer leaves."""

    @property
    def tokens(self) -> Tensor:
        """(b * k, r) int64; the k samples of a query follow one another."""

    @property
    def logprobs(self) -> Tensor:
        """(b * k, r) float, nats at the sampling temperature."""


class Writer(Protocol):
    """A policy or language model, as far as sampling goes."""

    def generate(
        self,
        queries: Tensor,
        query_mask: Tensor,
        *,
        response_tokens: int,
        temperature: float,
        generator: torch.Generator,
        samples_per_query: int = 1,
    ) -> Written:
        """Continue each of (b, q) left-padded queries `samples_per_query` times, by exactly `response_tokens`."""


class Decoder(Protocol):
    """A tokenizer, as far as sampling goes."""

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str:
        """Token ids to text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleDraw:
    """One sample of one prompt."""

    tokens: list[int]
    """All r token ids as sampled."""
    logprobs: list[float]
    """Of each of them, nats at the sampling temperature."""
    kept_tokens: int
    """Tokens up to and including the terminator; r where invalid."""
    valid: bool
    text: str
    """The kept tokens without special ones; holds no NUL, which PostgreSQL cannot store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledPrompt:
    """Valid samples of one prompt."""

    prompt: int
    """Row of the query."""
    draws: list[SampleDraw]
    rejected: int
    """Samples passed over before the last one kept: invalid ones, and repetitions while others could be had."""


@dataclass(slots=True, kw_only=True)
class _Collected:
    """What rejection sampling has of one prompt so far."""

    wanted: int
    kept: list[SampleDraw] = field(default_factory=list)
    repeated: list[SampleDraw] = field(default_factory=list)
    drawn: int = 0
    rejected: int = 0

    @property
    def missing(self) -> int:
        return self.wanted - len(self.kept)

    def add(self, draw: SampleDraw) -> None:
        self.drawn += 1
        if not self.missing:
            return
        if draw.valid and draw.text not in {one.text for one in self.kept}:
            self.kept.append(draw)
            return
        self.rejected += 1
        if draw.valid:
            self.repeated.append(draw)

    def settle(self) -> None:
        """No more rounds: a repetition is better than no comparison."""
        spare = self.repeated[: self.missing]
        self.kept += spare
        self.rejected -= len(spare)


@dataclass(slots=True)
class InvalidWatch:
    """Warns once per task if most of its first `WATCHED_SAMPLES` samples do not end in time."""

    seen: dict[TaskHParams, list[bool]] = field(default_factory=dict)
    """Of each task's first samples, whether each was valid."""

    def see(self, valid: Sequence[bool], task: TaskHParams) -> None:
        """The next samples of a task."""
        seen = self.seen.setdefault(task, [])
        missing = WATCHED_SAMPLES - len(seen)
        seen += valid[: max(0, missing)]
        invalid = seen.count(False)
        if 0 < missing <= len(valid) and 2 * invalid > WATCHED_SAMPLES:
            log.warning(
                "most samples are thrown away: no terminator in time; lengthen responses or choose another terminator",
                invalid=invalid,
                of=WATCHED_SAMPLES,
                terminator=task.terminator,
                min_terminator_index=task.min_terminator_index,
                response_tokens=task.response_tokens,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """A writer with what sampling needs beside it."""

    writer: Writer
    decoder: Decoder
    task: TaskHParams
    terminators: Tensor
    """(t,) int64 token ids that end a response; not used where nothing ends one (TaskHParams.ends)."""
    watch: InvalidWatch = field(default_factory=InvalidWatch)
    """Give the same one to the samplers of several jobs, and the samples of short jobs add up."""

    def draw(
        self, queries: Tensor, query_mask: Tensor, *, count: int, generator: torch.Generator
    ) -> list[list[SampleDraw]]:
        """`count` samples of each of (b, q) left-padded queries, valid or not."""
        task = self.task
        drawn: list[list[SampleDraw]] = []
        step = max(1, MAX_ROWS // count)
        for start in range(0, len(queries), step):
            written = self.writer.generate(
                queries[start : start + step],
                query_mask[start : start + step],
                response_tokens=task.response_tokens,
                temperature=task.temperature,
                generator=generator,
                samples_per_query=count,
            )
            draws = self._draws(written.tokens, written.logprobs)
            drawn += [draws[i : i + count] for i in range(0, len(draws), count)]
            self.watch.see([draw.valid for draw in draws], task)
        return drawn

    def _draws(self, tokens: Tensor, logprobs: Tensor) -> list[SampleDraw]:
        valid, lengths = [True] * len(tokens), [tokens.shape[1]] * len(tokens)
        if self.task.ends:
            kept = truncate(tokens, terminators=self.terminators, min_index=self.task.min_terminator_index, pad_id=0)
            valid, lengths = kept.valid.tolist(), kept.lengths.tolist()
        return [
            SampleDraw(tokens=ids, logprobs=nats, kept_tokens=n, valid=ends, text=self._text(ids[:n]))
            for ids, nats, n, ends in zip(tokens.tolist(), logprobs.float().tolist(), lengths, valid, strict=True)
        ]

    def _text(self, ids: list[int]) -> str:
        text = self.decoder.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def sample_comparisons(
    sampler: Sampler, queries: Tensor, query_mask: Tensor, *, seed: int, per_prompt: int | None = None
) -> list[SampledPrompt]:
    """Sample each query until `per_prompt` samples are valid and their texts differ.

    Args:
        queries, query_mask: (p, q) int64 and bool, left-padded.
        seed: the same seed, queries and weights give the same samples.
        per_prompt: the task's `samples_per_comparison` where nothing is said.
    Returns: the finished prompts in their order. A prompt is given up after `max_sampling_rounds` times `per_prompt`
        samples; equal texts are let through only then.
    """
    generator = torch.Generator(device=queries.device).manual_seed(seed)
    per_prompt = per_prompt or sampler.task.samples_per_comparison
    collected = [_Collected(wanted=per_prompt) for _ in range(len(queries))]
    limit = sampler.task.max_sampling_rounds * per_prompt
    seen: list[bool] = []
    while rows := [i for i, one in enumerate(collected) if one.missing and one.drawn < limit]:
        left = min(limit - collected[i].drawn for i in rows)
        count = min(_draws_per_prompt([collected[i].missing for i in rows], seen), left)
        drawn = sampler.draw(queries[rows], query_mask[rows], count=count, generator=generator)
        for i, draws in zip(rows, drawn, strict=True):
            for draw in draws:
                collected[i].add(draw)
        seen += [draw.valid for draws in drawn for draw in draws]
    return _finished(collected)


def joined(ours: Sequence[SampledPrompt], theirs: Sequence[SampledPrompt]) -> list[SampledPrompt]:
    """Samples of two writers as one comparison each, the first writer's first; prompts that both have finished."""
    other = {one.prompt: one for one in theirs}
    return [
        SampledPrompt(
            prompt=one.prompt,
            draws=[*one.draws, *other[one.prompt].draws],
            rejected=one.rejected + other[one.prompt].rejected,
        )
        for one in ours
        if one.prompt in other
    ]


def sample_once(
    sampler: Sampler, queries: Tensor, query_mask: Tensor, *, seed: int, count: int = 1
) -> list[list[SampleDraw]]:
    """`count` samples of each of (p, q) left-padded queries without rejection; `valid` tells which ended in time."""
    generator = torch.Generator(device=queries.device).manual_seed(seed)
    return sampler.draw(queries, query_mask, count=count, generator=generator)


def _draws_per_prompt(missing: Sequence[int], seen: Sequence[bool]) -> int:
    """So many that one round is likely to finish most prompts: rounds cost a prefill, samples share it."""
    valid = (sum(seen) + FIRST_GUESS) / (len(seen) + 1)
    return min(MAX_DRAWS, max(1, math.ceil(sum(missing) / len(missing) / valid)))


def _finished(collected: Sequence[_Collected]) -> list[SampledPrompt]:
    for one in collected:
        one.settle()
    given_up = [i for i, one in enumerate(collected) if one.missing]
    if given_up:
        log.warning("prompts given up: too few samples ended in time", prompts=len(given_up), of=len(collected))
    return [
        SampledPrompt(prompt=i, draws=one.kept, rejected=one.rejected)
        for i, one in enumerate(collected)
        if not one.missing
    ]
