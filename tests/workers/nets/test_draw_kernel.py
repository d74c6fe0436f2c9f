"""Tokens drawn by the kernels of a GPU: those of the plain sums, but where rounding decides."""

import pytest
import torch
from torch import Tensor

from workers.nets.decoding import BLOCK, sample

pytestmark = pytest.mark.gpu
ROWS, VOCABULARY = 600, 197 * BLOCK


def scores() -> Tensor:
    """Some rows whose tokens are nearly all impossible, and one with a single possible one."""
    drawn = 3 * torch.randn(ROWS, VOCABULARY, generator=torch.Generator().manual_seed(1))
    drawn[:, -47:] = -torch.inf
    drawn[1::3, : 60 * BLOCK] = -torch.inf
    drawn[2::3] = drawn[2::3].where(torch.arange(VOCABULARY) % 7 == 0, -torch.inf)
    drawn[0] = -torch.inf
    drawn[0, 3 * BLOCK + 5] = 2.0
    return drawn


def test_tokens_and_logprobs_are_those_of_plain_sums() -> None:
    given, uniform = scores(), torch.rand(ROWS, generator=torch.Generator().manual_seed(2))
    tokens, logprobs = (part.cpu() for part in sample(given.cuda(), uniform.cuda()))
    expected, _ = sample(given, uniform)
    assert (tokens == expected).float().mean() > 0.995
    assert tokens[0] == 3 * BLOCK + 5
    said = given.double().log_softmax(dim=-1).gather(1, tokens.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(logprobs.double(), said, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("end", [0.0, 1 - 2**-24])
def test_the_ends_of_the_unit_interval_hit_possible_tokens(end: float) -> None:
    given = scores()
    tokens, logprobs = sample(given.cuda(), torch.full((ROWS,), end, device="cuda"))
    assert given.gather(1, tokens.cpu().unsqueeze(1)).isfinite().all()
    assert logprobs.isfinite().all()


def test_frequencies_are_the_probabilities() -> None:
    rows = 40_000
    logits = torch.randn(2 * BLOCK, generator=torch.Generator().manual_seed(3))
    uniform = torch.rand(rows, generator=torch.Generator().manual_seed(4))
    tokens, _ = sample(logits.expand(rows, -1).contiguous().cuda(), uniform.cuda())
    found = torch.bincount(tokens.cpu(), minlength=2 * BLOCK) / rows
    torch.testing.assert_close(found, logits.softmax(dim=0), atol=4 * 0.5 / rows**0.5, rtol=0)
