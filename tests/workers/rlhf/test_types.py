from dataclasses import replace
from typing import Any

import pytest
import torch

from workers.rlhf.types import ComparisonBatch, QueryBatch, Rollout


def rollout(**changes: Any) -> Rollout:
    """Two episodes, queries of 3 and responses of 4; the second is invalid."""
    parts: dict[str, Any] = {
        "queries": torch.tensor([[0, 5, 6], [7, 8, 9]]),
        "query_mask": torch.tensor([[False, True, True], [True, True, True]]),
        "responses": torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]]),
        "logprobs": torch.full((2, 4), -1.0),
        "ref_logprobs": torch.full((2, 4), -1.5),
        "values": torch.zeros(2, 4),
        "scores": torch.tensor([0.5, -1.0]),
        "valid": torch.tensor([True, False]),
        "lengths": torch.tensor([2, 4]),
    }
    return Rollout(**(parts | changes))


def comparison_batch(**changes: Any) -> ComparisonBatch:
    parts: dict[str, Any] = {
        "queries": torch.tensor([[0, 5, 6]]),
        "query_mask": torch.tensor([[False, True, True]]),
        "responses": torch.tensor([[[1, 2], [3, 0]]]),
        "response_mask": torch.tensor([[[True, True], [True, False]]]),
        "best": torch.tensor([1]),
    }
    return ComparisonBatch(**(parts | changes))


def test_select_takes_whole_episodes_in_the_order_asked() -> None:
    both = rollout()
    swapped = both.select(torch.tensor([1, 0]))
    assert (both.batch_size, swapped.batch_size) == (2, 2)
    assert swapped.scores.tolist() == [-1.0, 0.5]
    assert swapped.queries.tolist() == [[7, 8, 9], [0, 5, 6]]
    assert both.select(torch.tensor([False, True])).lengths.tolist() == [4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logprobs": torch.zeros(2, 3)}, r"logprobs has shape \(2, 3\), expected \(2, 4\)"),
        ({"scores": torch.zeros(2, 1)}, r"scores has shape \(2, 1\), expected \(2,\)"),
        ({"responses": torch.zeros(3, 4, dtype=torch.int64)}, r"responses has shape \(3, 4\), expected \(2, 4\)"),
        ({"queries": torch.zeros(3, dtype=torch.int64)}, r"queries must be a matrix"),
        ({"valid": torch.tensor([1, 0])}, r"valid has dtype torch.int64, expected torch.bool"),
        ({"responses": torch.zeros(2, 4)}, r"responses has dtype torch.float32, expected torch.int64"),
        ({"query_mask": torch.tensor([[True, True, False], [True, True, True]])}, "left-padded"),
        ({"lengths": torch.tensor([0, 4])}, r"lengths must lie in \[1, 4\]"),
        ({"lengths": torch.tensor([5, 4])}, r"lengths must lie in \[1, 4\]"),
        ({"lengths": torch.tensor([2, 3])}, "lengths must be 4 where valid is False"),
        ({"values": torch.full((2, 4), torch.nan)}, "values must be finite"),
        ({"scores": torch.tensor([torch.inf, 0.0])}, "scores must be finite"),
    ],
)
def test_rollout_refuses_what_does_not_fit(changes: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rollout(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"responses": torch.zeros(1, 2, dtype=torch.int64)}, "must have 3 dimensions"),
        ({"response_mask": torch.ones(1, 2, 3, dtype=torch.bool)}, r"\(1, 2, 3\), expected \(1, 2, 2\)"),
        ({"response_mask": torch.tensor([[[False, True], [True, True]]])}, "right-padded"),
        ({"query_mask": torch.zeros(1, 3, dtype=torch.bool)}, "at least one real token"),
        ({"best": torch.tensor([2])}, r"best must lie in \[0, 2\)"),
        ({"best": torch.tensor([-1])}, r"best must lie in \[0, 2\)"),
        ({"best": torch.tensor([0, 1])}, r"best has shape \(2,\), expected \(1,\)"),
    ],
)
def test_comparison_batch_refuses_what_does_not_fit(changes: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        comparison_batch(**changes)


def test_batches_are_checked_again_when_replaced() -> None:
    assert comparison_batch().batch_size == 1
    with pytest.raises(ValueError, match="best"):
        replace(comparison_batch(), best=torch.tensor([7]))


def test_queries_are_checked_in_both_forms() -> None:
    ids, mask = torch.tensor([[0, 5, 6], [7, 8, 9]]), torch.tensor([[False, True, True], [True, True, True]])
    assert QueryBatch.same(ids, mask).batch_size == 2
    raw = QueryBatch(ids=ids, mask=mask, raw_ids=ids[:, 1:], raw_mask=mask[:, 1:])
    assert raw.raw_ids.tolist() == [[5, 6], [8, 9]]
    with pytest.raises(ValueError, match="raw_mask must be left-padded"):
        replace(raw, raw_mask=~mask[:, 1:])
    with pytest.raises(ValueError, match=r"raw_mask has shape \(2, 3\), expected \(2, 2\) beside ids \(2, 3\)"):
        replace(raw, raw_mask=mask)
