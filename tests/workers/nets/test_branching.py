"""Responses behind one query are read as if each stood alone behind a copy of it."""

import pytest
import torch

from tests.workers.nets.tiny import LAYERS, padded_queries, random_ids
from workers.nets.branching import branching, unbranched
from workers.nets.language_model import FINAL, LanguageModel

MASK = torch.arange(4) < torch.tensor([[[4], [2]], [[1], [4]], [[3], [3]]])
"""(3, 2, 4): two responses behind each of three queries, of unequal lengths."""


def test_a_token_sees_its_query_and_its_own_response_alone() -> None:
    attend, positions = branching(torch.tensor([[False, True]]), torch.tensor([[[True, True], [True, False]]]))
    assert positions.tolist() == [[0, 0, 1, 2, 1, 2]]
    assert attend[0, 0].int().tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 0, 0, 1, 0],
        [0, 1, 0, 0, 1, 0],
    ]


def test_texts_come_apart_in_order() -> None:
    states = torch.arange(2 * 8).view(2, 8, 1)
    assert unbranched(states, 2, 3).squeeze(-1).tolist() == [
        [0, 1, 2, 3],
        [0, 1, 4, 5],
        [0, 1, 6, 7],
        [8, 9, 10, 11],
        [8, 9, 12, 13],
        [8, 9, 14, 15],
    ]


def test_branches_have_the_hidden_states_of_whole_texts(language_model: LanguageModel) -> None:
    queries, query_mask = padded_queries()
    responses = random_ids(6, 4, seed=2).view(3, 2, 4)
    layers = (1, LAYERS, FINAL)
    found = language_model.branch_layers(queries, query_mask, responses, MASK, layers)
    ids = torch.cat([queries.repeat_interleave(2, dim=0), responses.flatten(0, 1)], dim=1)
    mask = torch.cat([query_mask.repeat_interleave(2, dim=0), MASK.flatten(0, 1)], dim=1)
    for mine, whole in zip(found, language_model.hidden_layers(ids, mask, layers), strict=True):
        torch.testing.assert_close(mine[mask], whole[mask], atol=1e-5, rtol=1e-5)


def test_many_branches_may_be_longer_together_than_the_context(language_model: LanguageModel) -> None:
    queries, query_mask = padded_queries()
    responses = random_ids(27, 5, seed=2).view(3, 9, 5)
    mask = torch.ones_like(responses, dtype=torch.bool)
    assert queries.shape[1] + 9 * 5 > 40
    assert len(language_model.branch_layers(queries, query_mask, responses, mask, (FINAL,))[0]) == 27
    long = torch.zeros(3, 1, 34, dtype=torch.int64)
    with pytest.raises(ValueError, match="41 tokens exceed the model's context of 40"):
        language_model.branch_layers(queries, query_mask, long, torch.ones_like(long, dtype=torch.bool), (FINAL,))
