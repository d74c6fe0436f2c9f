"""Rejection sampling, with a writer whose tokens are drawn uniformly from a small alphabet."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import structlog
import torch
from structlog.testing import capture_logs
from torch import Tensor

from app.hparams import TaskHParams
from workers.sampler import InvalidWatch, SampleDraw, Sampler, sample_comparisons, sample_once

STOP = 0
NUL = 9
TASK = TaskHParams(question="?", response_tokens=6, min_terminator_index=2, max_sampling_rounds=4)


@dataclass(frozen=True)
class Letters:
    tokens: Tensor
    logprobs: Tensor


@dataclass
class UniformWriter:
    """Each token uniformly one of `alphabet`; remembers how many rows it was asked for."""

    alphabet: int
    asked: list[int] = field(default_factory=list)

    def generate(
        self,
        queries: Tensor,
        query_mask: Tensor,
        *,
        response_tokens: int,
        temperature: float,
        generator: torch.Generator,
        samples_per_query: int = 1,
    ) -> Letters:
        assert queries.shape == query_mask.shape
        assert temperature == TASK.temperature
        tokens = torch.randint(self.alphabet, (len(queries) * samples_per_query, response_tokens), generator=generator)
        self.asked.append(len(tokens))
        return Letters(tokens, -tokens.float())


class LetterDecoder:
    """0 is the full stop, 1 a special token, 9 NUL, others letters."""

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str:
        assert skip_special_tokens
        assert not clean_up_tokenization_spaces
        return "".join(".?abcdefg\x00"[i] for i in token_ids if i != 1)


@pytest.fixture(autouse=True)
def _plain_logs() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def sampler(alphabet: int, task: TaskHParams = TASK) -> Sampler:
    return Sampler(writer=UniformWriter(alphabet), decoder=LetterDecoder(), task=task, terminators=torch.tensor([STOP]))


def queries(n: int) -> tuple[Tensor, Tensor]:
    return torch.ones(n, 3, dtype=torch.long), torch.ones(n, 3, dtype=torch.bool)


def check(draw: SampleDraw) -> None:
    """By the definition: the first full stop at index >= 2 ends the sample."""
    ends = [i for i, token in enumerate(draw.tokens) if token == STOP and i >= TASK.min_terminator_index]
    assert draw.valid == bool(ends)
    assert draw.kept_tokens == (ends[0] + 1 if ends else TASK.response_tokens)
    assert len(draw.tokens) == len(draw.logprobs) == TASK.response_tokens
    assert draw.logprobs == [-float(token) for token in draw.tokens]
    kept = draw.tokens[: draw.kept_tokens]
    assert draw.text == "".join(".?abcdefg\N{REPLACEMENT CHARACTER}"[i] for i in kept if i != 1)


def test_every_prompt_gets_four_different_valid_samples() -> None:
    sampled = sample_comparisons(sampler(7), *queries(20), seed=1)
    assert [one.prompt for one in sampled] == list(range(20))
    for one in sampled:
        assert len(one.draws) == 4 == len({draw.text for draw in one.draws})
        assert all(draw.valid for draw in one.draws)
        for draw in one.draws:
            check(draw)
    assert sum(one.rejected for one in sampled) > 0


@pytest.mark.parametrize("k", [2, 4, 9])
def test_the_task_says_how_many_are_compared(k: int) -> None:
    task = TASK.model_copy(update={"samples_per_comparison": k})
    for one in sample_comparisons(sampler(7, task), *queries(3), seed=1):
        assert len(one.draws) == k == len({draw.text for draw in one.draws})


def test_the_samples_kept_are_the_first_valid_ones_drawn() -> None:
    ours = sampler(5)
    (kept,) = sample_comparisons(ours, *queries(1), seed=3)
    assert isinstance(ours.writer, UniformWriter)
    generator = torch.Generator().manual_seed(3)
    drawn = [draw for n in tuple(ours.writer.asked) for draw in ours.draw(*queries(1), count=n, generator=generator)[0]]
    first: list[SampleDraw] = []
    passed = 0
    for draw in drawn:
        if len(first) == 4:
            break
        if draw.valid and draw.text not in [one.text for one in first]:
            first.append(draw)
        else:
            passed += 1
    assert (kept.draws, kept.rejected) == (first, passed)


def test_a_seed_fixes_the_samples() -> None:
    once, again, other = (sample_comparisons(sampler(5), *queries(5), seed=seed) for seed in (1, 1, 2))
    assert once == again
    assert once != other


def test_a_writer_that_never_ends_is_given_up_and_reported() -> None:
    class Endless(UniformWriter):
        def generate(self, *args: Tensor, **options: object) -> Letters:
            written = super().generate(*args, **options)  # type: ignore[arg-type]
            return Letters(written.tokens + 2, written.logprobs)

    endless = Endless(3)
    with capture_logs() as logs:
        ours = Sampler(writer=endless, decoder=LetterDecoder(), task=TASK, terminators=torch.tensor([STOP]))
        assert sample_comparisons(ours, *queries(8), seed=0) == []
    assert sum(endless.asked) == 8 * 4 * TASK.max_sampling_rounds
    events = [entry["event"] for entry in logs]
    assert [event.split(":")[0] for event in events] == ["most samples are thrown away", "prompts given up"]


def test_repetitions_are_kept_only_when_nothing_else_came() -> None:
    class Parrot(UniformWriter):
        def generate(self, *args: Tensor, **options: object) -> Letters:
            written = super().generate(*args, **options)  # type: ignore[arg-type]
            return Letters(torch.tensor([[2, 3, STOP, 2, 2, 2]]).expand_as(written.tokens), written.logprobs)

    ours = Sampler(writer=Parrot(3), decoder=LetterDecoder(), task=TASK, terminators=torch.tensor([STOP]))
    (one,) = sample_comparisons(ours, *queries(1), seed=0)
    assert [draw.text for draw in one.draws] == ["ab."] * 4
    assert one.rejected == 4 * TASK.max_sampling_rounds - 4


def test_without_a_terminator_everything_is_valid_and_whole() -> None:
    task = TASK.model_copy(update={"terminator": None})
    ours = Sampler(writer=UniformWriter(9), decoder=LetterDecoder(), task=task, terminators=torch.tensor([]))
    for one in sample_comparisons(ours, *queries(3), seed=0):
        assert one.rejected == 0
        assert all(draw.valid and draw.kept_tokens == task.response_tokens for draw in one.draws)


def test_sampling_once_keeps_invalid_samples_and_bounds_the_batch() -> None:
    ours = sampler(10)
    drawn = sample_once(ours, *queries(30), seed=4, count=7)
    assert [len(draws) for draws in drawn] == [7] * 30
    assert {draw.valid for draws in drawn for draw in draws} == {True, False}
    for draws in drawn:
        for draw in draws:
            check(draw)
            assert "\x00" not in draw.text
    assert isinstance(ours.writer, UniformWriter)
    assert 64 < max(ours.writer.asked) <= 128
    assert any(NUL in draw.tokens[: draw.kept_tokens] for draws in drawn for draw in draws)


def test_a_writer_that_mostly_ends_in_time_gives_no_warning() -> None:
    with capture_logs() as logs:
        sample_comparisons(sampler(3), *queries(40), seed=0)
    assert logs == []


def test_short_jobs_add_up_to_one_warning_per_task() -> None:
    watch, fine = InvalidWatch(), TASK.model_copy(update={"terminator": "!"})
    with capture_logs() as logs:
        for valid, warned in (([True] * 20, 0), ([False] * 43, 0), ([False] * 2, 1), ([False] * 100, 1)):
            watch.see(valid, TASK)
            watch.see([True, False] * 8, fine)  # another run's jobs come in between
            assert len(logs) == warned
        watch.see([False] * 99, fine)
    assert [(entry["invalid"], entry["of"]) for entry in logs] == [(44, 64)]


def test_samplers_of_several_jobs_share_their_watch() -> None:
    watch = InvalidWatch()
    for seed in range(3):
        ours = sampler(7)
        job = Sampler(
            writer=ours.writer, decoder=ours.decoder, task=TASK, terminators=torch.tensor([STOP]), watch=watch
        )
        sample_once(job, *queries(3), seed=seed, count=2)
    assert len(watch.seen[TASK]) == 18


def test_the_end_of_text_token_alone_may_end_a_sample() -> None:
    task = TASK.model_copy(update={"terminator": None, "eos_ends": True})
    drawn = sample_once(sampler(7, task), *queries(20), seed=2, count=3)
    assert {draw.valid for draws in drawn for draw in draws} == {True, False}
    for draws in drawn:
        for draw in draws:
            check(draw)
