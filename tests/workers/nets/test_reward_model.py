"""The reward model reads where it says, ignores padding, and leaves a frozen trunk alone."""

from math import sqrt

import pytest
import torch
from torch import Tensor

from app.hparams import Pooling
from tests.workers.nets.tiny import padded_queries, random_ids, tiny_language_model, tiny_model
from workers.nets.language_model import FINAL, LanguageModel
from workers.nets.reward_model import Read, RewardModel, pooled_features

READS = [Read(layer, pooling) for layer in (FINAL, 1) for pooling in (Pooling.LAST, Pooling.MEAN)]
FRESH_ATTENTION = [Read(layer, Pooling.ATTENTION) for layer in (FINAL, 1)]
"""Attends to all tokens alike."""


def make(trunk: LanguageModel, *reads: Read, frozen: bool = False, seed: int = 0) -> RewardModel:
    return RewardModel(trunk, reads=reads or (Read(),), frozen=frozen, generator=torch.Generator().manual_seed(seed))


def responses() -> tuple[Tensor, Tensor]:
    """(3, 5) ids and their right-padding mask: 5, 2 and 3 kept tokens."""
    return random_ids(3, 5, seed=9), torch.arange(5) < torch.tensor([[5], [2], [3]])


@pytest.mark.parametrize("read", [*READS, *FRESH_ATTENTION])
def test_features_are_the_pooled_hidden_states_of_the_bare_text(family: str, read: Read) -> None:
    (queries, query_mask), (answers, answer_mask) = padded_queries(), responses()
    model = make(tiny_language_model(family), read)
    bare = tiny_model(family)
    features = model.features(torch.cat([queries, answers], 1), torch.cat([query_mask, answer_mask], 1))
    for row in range(3):
        text = torch.cat([queries[row][query_mask[row]], answers[row][answer_mask[row]]]).unsqueeze(0)
        states = bare(text, output_hidden_states=True).hidden_states[read.layer][0]
        expected = states[-1] if read.pooling is Pooling.LAST else states.mean(dim=0)
        torch.testing.assert_close(features[row], expected, atol=1e-5, rtol=1e-4)


def test_one_pass_feeds_several_heads(language_model: LanguageModel) -> None:
    ids, mask = padded_queries()
    together = pooled_features(language_model, ids, mask, READS)
    for features, read in zip(together, READS, strict=True):
        torch.testing.assert_close(features, make(language_model, read).features(ids, mask))


def test_a_head_may_read_several_states_side_by_side(language_model: LanguageModel) -> None:
    ids, mask = padded_queries()
    model = make(language_model, *READS)
    assert torch.equal(model.features(ids, mask), torch.cat(pooled_features(language_model, ids, mask, READS), dim=1))
    assert model(*padded_queries(), *responses()).shape == (3,)


def test_a_score_is_gain_times_head_plus_bias(language_model: LanguageModel) -> None:
    model = make(language_model)
    args = (*padded_queries(), *responses())
    plain = model(*args)
    assert plain.shape == (3,)
    with torch.no_grad():
        model.gain.fill_(3.0)
        model.bias.fill_(-1.0)
    torch.testing.assert_close(model(*args), 3 * plain - 1)


def test_a_fresh_head_has_the_published_spread() -> None:
    weights = torch.cat([make(tiny_language_model("gpt2"), seed=seed).head.weight for seed in range(60)])
    assert weights.std().item() == pytest.approx(1 / sqrt(33), rel=0.05)
    assert not make(tiny_language_model("gpt2")).head.bias.any()


def test_standardised_features_have_mean_0_and_deviation_1(language_model: LanguageModel) -> None:
    model = make(language_model, frozen=True)
    features = torch.randn(50, 32, generator=torch.Generator().manual_seed(0)) * 7 + 3
    model.standardise(features)
    standard = (features - features.mean(0)) / features.std(0, correction=0)
    torch.testing.assert_close(model.score_features(features), model.head(standard).squeeze(-1))
    model.standardise(torch.ones(5, 32))
    assert model.score_features(torch.ones(5, 32)).isfinite().all(), "features that never vary are no division by zero"


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_trunk_gets_no_gradient(language_model: LanguageModel, frozen: bool) -> None:
    model = make(language_model, frozen=frozen)
    model(*padded_queries(), *responses()).sum().backward()
    assert model.head.weight.grad is not None
    assert all(parameter.requires_grad for parameter in language_model.parameters())
    assert frozen == all(parameter.grad is None for parameter in language_model.parameters())


def test_a_head_alone_carries_a_frozen_model(family: str) -> None:
    first, second = (make(tiny_language_model(family), frozen=True, seed=seed) for seed in (1, 2))
    first.standardise(torch.randn(9, 32))
    args = (*padded_queries(), *responses())
    state = first.head_state_dict()
    assert sum(value.numel() for value in state.values()) == 3 * 32 + 3
    assert not torch.equal(first(*args), second(*args))
    second.load_head_state_dict(state)
    assert torch.equal(first(*args), second(*args))
    with pytest.raises(ValueError, match="expected"):
        second.load_head_state_dict({"gain": torch.ones(())})


ATTENTION = Read(FINAL, Pooling.ATTENTION)


def test_attention_weighs_tokens_by_a_softmax_over_the_real_ones(family: str) -> None:
    (queries, query_mask), (answers, answer_mask) = padded_queries(), responses()
    model = make(tiny_language_model(family), ATTENTION)
    assert model.attention is not None
    with torch.no_grad():
        model.attention.copy_(torch.randn(1, 32, generator=torch.Generator().manual_seed(4)))
    look, bare = model.attention[0].detach(), tiny_model(family)
    features = model.features(torch.cat([queries, answers], 1), torch.cat([query_mask, answer_mask], 1))
    for row in range(3):
        text = torch.cat([queries[row][query_mask[row]], answers[row][answer_mask[row]]]).unsqueeze(0)
        states = bare(text, output_hidden_states=True).hidden_states[FINAL][0].detach()
        weights = [torch.exp((state * look).sum()) for state in states]
        expected = sum(weight * state for weight, state in zip(weights, states, strict=True)) / sum(weights)
        torch.testing.assert_close(features[row].detach(), expected, atol=1e-5, rtol=1e-4)


def test_attention_is_learned_and_saved_where_it_is_asked_for(language_model: LanguageModel) -> None:
    model = make(language_model, ATTENTION, Read(), Read(1, Pooling.ATTENTION))
    model(*padded_queries(), *responses()).sum().backward()
    assert model.attention is not None
    assert model.attention.grad is not None
    assert model.attention.grad.abs().sum(dim=1).min() > 0, "each of the two reads learns its own"
    assert "attention" in model.head_state_dict()
    assert "attention" not in make(language_model).head_state_dict()
    with pytest.raises(ValueError, match="choose mean or last"):
        make(language_model, ATTENTION, frozen=True)
    with pytest.raises(ValueError, match="1 reads pool by attention, 0 rows"):
        pooled_features(language_model, *padded_queries(), [ATTENTION])
