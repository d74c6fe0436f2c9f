"""The policy with its values: what sampling keeps is what training computes again, however it is sliced."""

from dataclasses import replace

import pytest
import torch

from tests.workers.nets.tiny import padded_queries, tiny_language_model
from workers.actor_critic import ActorCritic, sliced
from workers.nets.policy import Policy
from workers.nets.value_head import ValueNetwork
from workers.rlhf.types import QueryBatch

QUERIES = QueryBatch.same(*padded_queries())


@pytest.fixture(params=["gpt2", "llama"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def models(family: str, *, separate: bool) -> ActorCritic:
    """With opinions of value."""
    policy = Policy(tiny_language_model(family))
    network = ValueNetwork(tiny_language_model(family, seed=1)) if separate else None
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for head in [policy.value_head] + ([network.value_head] if network else []):
            head.weight.copy_(torch.randn(1, 32, generator=generator))
    return ActorCritic(policy=policy, value_network=network, temperature=0.7, micro_batch=2, bf16=False)


@pytest.mark.parametrize("separate", [False, True])
def test_what_sampling_keeps_is_what_training_computes(family: str, separate: bool) -> None:
    both = models(family, separate=separate)
    written, values = both.write(QUERIES, response_tokens=5, generator=torch.Generator().manual_seed(3))
    out = both.forward(QUERIES.ids, QUERIES.mask, written.tokens)
    torch.testing.assert_close(written.logprobs, out.logprobs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(values, out.values, atol=1e-4, rtol=1e-4)
    assert not values.requires_grad
    if both.value_network is not None:
        alone = both.value_network(QUERIES.ids, QUERIES.mask, written.tokens)
        torch.testing.assert_close(values, alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("separate", [False, True])
def test_slices_change_nothing(family: str, separate: bool) -> None:
    two = models(family, separate=separate)
    written, _ = two.write(QUERIES, response_tokens=5, generator=torch.Generator().manual_seed(3))
    parts = two.recompute(QUERIES.ids, QUERIES.mask, written.tokens)
    whole = replace(two, micro_batch=8).recompute(QUERIES.ids, QUERIES.mask, written.tokens)
    for one, other in zip(parts, whole, strict=True):
        assert one.shape == (3, 5)
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)  # float32, products of another shape


def test_exactly_one_value_head_is_trained(family: str) -> None:
    shared, separate = models(family, separate=False), models(family, separate=True)
    assert {"value_head.weight", "value_head.bias"} <= shared.trained().keys()
    assert "value_head.weight" not in separate.trained()
    assert "value_network.value_head.weight" in separate.trained()
    with pytest.raises(ValueError, match="use `forward`"):
        shared.values(QUERIES, torch.zeros(3, 5, dtype=torch.int64))


@pytest.mark.parametrize(("rows", "size", "expected"), [(5, 2, [2, 2, 1]), (4, 2, [2, 2]), (1, 8, [1])])
def test_every_row_is_read_once_and_in_order(rows: int, size: int, expected: list[int]) -> None:
    seen: list[int] = []

    def read(part: slice) -> torch.Tensor:
        found = torch.arange(rows)[part]
        seen.append(len(found))
        return found

    assert sliced(read, rows, size).tolist() == list(range(rows))
    assert seen == expected
