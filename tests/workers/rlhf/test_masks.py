import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.rlhf.masks import position_ids, response_mask, truncate

PERIOD = 13
PAD = 99


def test_the_first_terminator_at_or_after_min_index_ends_the_response() -> None:
    responses = torch.tensor(
        [
            [PERIOD, 1, PERIOD, 2, PERIOD],  # the one at 0 is too early, the one at 4 too late
            [1, PERIOD, 2, 3, 4],  # only an early one
            [1, 2, 3, 4, PERIOD],  # the very last token
            [1, 2, 3, 4, 5],
        ]
    )
    cut = truncate(responses, terminators=torch.tensor([PERIOD]), min_index=2, pad_id=PAD)
    assert cut.tokens.tolist() == [
        [PERIOD, 1, PERIOD, PAD, PAD],
        [1, PERIOD, 2, 3, 4],
        [1, 2, 3, 4, PERIOD],
        [1, 2, 3, 4, 5],
    ]
    assert cut.valid.tolist() == [True, False, True, False]
    assert cut.lengths.tolist() == [3, 5, 5, 5]


@given(
    rows=st.integers(1, 8).flatmap(
        lambda r: st.lists(st.lists(st.integers(0, 5), min_size=r, max_size=r), min_size=1, max_size=4)
    ),
    terminators=st.sets(st.integers(0, 5), min_size=1, max_size=3),
    data=st.data(),
)
def test_truncation_agrees_with_a_scan_over_lists(
    rows: list[list[int]], terminators: set[int], data: st.DataObject
) -> None:
    r = len(rows[0])
    min_index = data.draw(st.integers(0, r - 1))
    responses = torch.tensor(rows)
    cut = truncate(responses, terminators=torch.tensor(sorted(terminators)), min_index=min_index, pad_id=PAD)
    for i, row in enumerate(rows):
        end = next((t for t in range(min_index, r) if row[t] in terminators), None)
        kept = row if end is None else row[: end + 1]
        assert cut.tokens[i].tolist() == kept + [PAD] * (r - len(kept))
        assert cut.lengths[i].item() == len(kept)
        assert cut.valid[i].item() == (end is not None)
    assert responses.tolist() == rows  # the argument is not written to


def test_truncating_twice_changes_nothing() -> None:
    responses = torch.tensor([[1, 2, PERIOD, 3], [1, 2, 3, 4]])
    once = truncate(responses, terminators=torch.tensor([PERIOD]), min_index=1, pad_id=PAD)
    twice = truncate(once.tokens, terminators=torch.tensor([PERIOD]), min_index=1, pad_id=PAD)
    assert torch.equal(once.tokens, twice.tokens)
    assert torch.equal(once.lengths, twice.lengths)


@pytest.mark.parametrize(("terminators", "min_index"), [([], 0), ([PERIOD], 4), ([PERIOD], -1)])
def test_an_end_rule_that_can_never_hold_is_refused(terminators: list[int], min_index: int) -> None:
    ids = torch.tensor(terminators, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"terminators|min_index"):
        truncate(torch.ones(1, 4, dtype=torch.int64), terminators=ids, min_index=min_index, pad_id=PAD)


def test_response_mask_marks_the_kept_tokens() -> None:
    assert response_mask(torch.tensor([1, 3]), 3).tolist() == [[True, False, False], [True, True, True]]


def test_positions_count_real_tokens_only() -> None:
    mask = torch.tensor([[False, False, True, True, True], [True, True, True, False, True]])
    assert position_ids(mask).tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 3]]


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=4))
def test_whatever_the_mask_a_position_is_the_number_of_real_tokens_before_it(rows: list[list[bool]]) -> None:
    assert position_ids(torch.tensor(rows)).tolist() == [[sum(row[:t]) for t in range(6)] for row in rows]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_a_response_mask_is_as_many_trues_as_the_length_and_then_falses(lengths: list[int]) -> None:
    assert response_mask(torch.tensor(lengths), 6).tolist() == [[True] * n + [False] * (6 - n) for n in lengths]
