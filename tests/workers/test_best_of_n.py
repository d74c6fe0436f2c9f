"""Best of N over a writer that draws one token from a known distribution."""

import itertools
from collections import Counter
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from app.hparams import TaskHParams
from workers.best_of_n import BestOfN, RawScorer
from workers.rlhf.types import QueryBatch
from workers.sampler import MAX_ROWS, Sampler

CHANCES = (0.5, 0.3, 0.15, 0.05)
SCORES = (1.0, 4.0, 2.0, 3.0)
ANY = TaskHParams(question="?", response_tokens=1, terminator=None)
NO_ENDS = torch.tensor([], dtype=torch.int64)


@dataclass(frozen=True)
class Draws:
    tokens: Tensor
    logprobs: Tensor


@dataclass
class Dice:
    """Every token has CHANCES, whatever the query."""

    most_rows: list[int] = field(default_factory=lambda: [0])

    def generate(
        self,
        queries: Tensor,
        query_mask: Tensor,
        *,
        response_tokens: int,
        temperature: float,
        generator: torch.Generator,
        samples_per_query: int = 1,
    ) -> Draws:
        assert queries.shape == query_mask.shape
        assert temperature > 0
        rows = len(queries) * samples_per_query
        self.most_rows[0] = max(self.most_rows[0], rows)
        chances = torch.tensor(CHANCES)
        tokens = torch.multinomial(chances.expand(rows, -1), response_tokens, replacement=True, generator=generator)
        return Draws(tokens, chances.log()[tokens])


def first_token(queries: Tensor, query_mask: Tensor, responses: Tensor, mask: Tensor) -> Tensor:
    """The score of a response's first token, 100 times the query's on top of it."""
    assert queries.shape == query_mask.shape
    assert responses.shape == mask.shape
    assert len(queries) == len(responses)
    return torch.tensor(SCORES)[responses[:, 0]] + 100 * queries[:, 0]


def policy(n: int, task: TaskHParams = ANY, ends: Tensor = NO_ENDS) -> BestOfN:
    return BestOfN(writer=Dice(), scorer=first_token, n=n, task=task, terminators=ends)


def written(policy: BestOfN, queries: int, each: int = 1, *, length: int = 1) -> tuple[Tensor, Tensor]:
    ids = torch.arange(queries).unsqueeze(1)
    chosen = policy.generate(
        ids,
        torch.ones_like(ids).bool(),
        response_tokens=length,
        temperature=0.7,
        generator=torch.Generator().manual_seed(5),
        samples_per_query=each,
    )
    return chosen.tokens, chosen.logprobs


def enumerated(n: int) -> dict[int, float]:
    """Every possible set of n draws, with its chance and its best."""
    chances: Counter[int] = Counter()
    for draws in itertools.product(range(4), repeat=n):
        chance = 1.0
        for token in draws:
            chance *= CHANCES[token]
        chances[max(draws, key=SCORES.__getitem__)] += chance  # type: ignore[assignment]
    return dict(chances)


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_the_best_comes_as_often_as_enumeration_says(n: int) -> None:
    tokens, logprobs = written(policy(n), 4_000, each=2)
    found = Counter(tokens[:, 0].tolist())
    for token, chance in enumerated(n).items():
        assert found[token] / 8_000 == pytest.approx(chance, abs=4 * (0.25 / 8_000) ** 0.5)
    assert torch.equal(logprobs, torch.tensor(CHANCES).log()[tokens])


def test_more_than_fit_at_once_are_drawn_in_parts() -> None:
    many = policy(3 * MAX_ROWS + 1)
    tokens, _ = written(many, 5)
    assert tokens.tolist() == [[1]] * 5  # 0.7^193 is nothing: the best token is always among them
    assert many.writer.most_rows == [MAX_ROWS]  # type: ignore[attr-defined]


def test_what_does_not_end_in_time_loses_to_what_does() -> None:
    ending = TaskHParams(question="?", response_tokens=2, min_terminator_index=1)
    tokens, _ = written(policy(12, ending, torch.tensor([0])), 200, length=2)
    ended = tokens[:, 1] == 0
    assert ended.float().mean() > 0.99  # half of all samples end
    assert (tokens[ended, 0] == 1).float().mean() > 0.7  # and among those the best: 1 - 0.85^12 of the time


def test_a_sampler_writes_with_it() -> None:
    class Digits:
        def decode(self, token_ids: list[int], **_: bool) -> str:
            return "".join(map(str, token_ids))

    sampler = Sampler(writer=policy(200), decoder=Digits(), task=ANY, terminators=NO_ENDS)
    ids = torch.arange(3).unsqueeze(1)
    drawn = sampler.draw(ids, torch.ones_like(ids).bool(), count=2, generator=torch.Generator().manual_seed(0))
    assert [[draw.text for draw in draws] for draws in drawn] == [["1", "1"]] * 3


def test_numbers_that_are_none_and_no_choice_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        policy(0)

    def broken(queries: Tensor, query_mask: Tensor, responses: Tensor, mask: Tensor) -> Tensor:
        return first_token(queries, query_mask, responses, mask) * torch.nan

    with pytest.raises(ValueError, match="not finite"):
        written(BestOfN(writer=Dice(), scorer=broken, n=2, task=ANY, terminators=NO_ENDS), 1)


def test_a_scorer_of_raw_queries_gets_them_whatever_the_writer_reads() -> None:
    """Queries 7 0 and 7 1 stand for the raw queries 0 and 1; the score has 100 times the raw one in it."""
    raw = torch.tensor([[0], [1]])
    ids = torch.tensor([[7, 0], [7, 1]])
    batch = QueryBatch(ids=ids, mask=ids.bool() | True, raw_ids=raw, raw_mask=raw.bool() | True)
    scorer = RawScorer(scorer=first_token, queries=batch)
    asked, responses = ids[[1, 0, 1]], torch.tensor([[3], [3], [1]])
    whole = torch.ones_like(responses).bool()
    assert scorer(asked, torch.ones_like(asked).bool(), responses, whole).tolist() == [103, 3, 104]
    with pytest.raises(ValueError, match="none of those"):
        scorer(asked + 1, torch.ones_like(asked).bool(), responses, whole)


def test_it_says_how_far_it_leads() -> None:
    assert policy(64).kl == pytest.approx(3.2, abs=0.05)
