"""The wrapped model computes what transformers computes, whatever the padding."""

from pathlib import Path

import pytest
import torch
from transformers import CohereConfig, CohereForCausalLM

from tests.workers.nets.tiny import (
    LAYERS,
    SHAPES,
    VOCABULARY,
    padded_queries,
    random_ids,
    tiny_language_model,
    tiny_model,
)
from workers.nets.language_model import FINAL, LanguageModel, causal_mask
from workers.rlhf.masks import position_ids


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_those_of_transformers(shape: str) -> None:
    ids = random_ids(2, 9)
    expected = tiny_model(shape)(ids).logits
    model = tiny_language_model(shape)
    logits = model.logits(model.hidden(ids, torch.ones_like(ids).bool()))
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_padding_on_either_side_and_its_content_change_nothing(language_model: LanguageModel) -> None:
    ids = random_ids(1, 6)
    alone = language_model.hidden(ids, torch.ones_like(ids).bool())
    for content in (0, 17):
        pad = torch.full((1, 3), content)
        padded = torch.cat([pad, ids, pad[:, :2]], dim=1)
        mask = torch.tensor([[False] * 3 + [True] * 6 + [False] * 2])
        torch.testing.assert_close(language_model.hidden(padded, mask)[:, 3:9], alone, atol=1e-5, rtol=1e-5)


def test_padding_yields_numbers(language_model: LanguageModel) -> None:
    assert language_model.hidden(*padded_queries()).isfinite().all()


def test_layers_are_the_hidden_states_of_transformers(family: str) -> None:
    ids = random_ids(2, 5)
    mask = torch.ones_like(ids).bool()
    expected = tiny_model(family)(ids, output_hidden_states=True).hidden_states
    model = tiny_language_model(family)
    states = model.hidden_layers(ids, mask, (2, 0, FINAL))
    for state, layer in zip(states, (2, 0, -1), strict=True):
        torch.testing.assert_close(state, expected[layer], atol=1e-5, rtol=1e-5)
    (top,) = model.hidden_layers(ids, mask, (LAYERS,))
    final_norm = {"gpt2": "ln_f", "llama": "norm", "gpt_neox": "final_layer_norm"}[family]
    torch.testing.assert_close(model.trunk.get_submodule(final_norm)(top), expected[-1])


def test_no_block_above_the_highest_layer_runs(language_model: LanguageModel) -> None:
    ran: list[int] = []
    for number, block in enumerate(language_model.blocks):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    ids = random_ids(2, 5)
    language_model.hidden_layers(ids, torch.ones_like(ids).bool(), (1, 2))
    assert ran == [0, 1]
    language_model.hidden_layers(ids, torch.ones_like(ids).bool(), (1, FINAL))
    assert ran == [0, 1, 0, 1, 2], "and an early leave leaves no trace"


def test_a_layer_carries_gradients_to_what_stands_below(language_model: LanguageModel) -> None:
    ids = random_ids(1, 4)
    (state,) = language_model.hidden_layers(ids, torch.ones_like(ids).bool(), (2,))
    state.square().sum().backward()
    touched = [any(p.grad is not None for p in block.parameters()) for block in language_model.blocks]
    assert touched == [True, True, False]


@pytest.mark.parametrize("layer", [-2, LAYERS + 1])
def test_layers_out_of_range_are_refused(layer: int) -> None:
    model = tiny_language_model("gpt2")
    with pytest.raises(ValueError, match=rf"layers \[{layer}\] must lie in \[-1, 3\]"):
        model.hidden_layers(random_ids(1, 3), torch.ones(1, 3).bool(), (1, layer))


def test_depth_counts_layers_as_a_fraction() -> None:
    model = tiny_language_model("llama")
    assert [model.layer_at(depth) for depth in (0.01, 0.33, 0.67, 0.99, 1.0)] == [1, 1, 2, 3, FINAL]
    with pytest.raises(ValueError, match=r"depth 0 must lie in \(0, 1\]"):
        model.layer_at(0)


def test_too_long_a_text_is_refused(language_model: LanguageModel) -> None:
    with pytest.raises(ValueError, match="41 tokens exceed the model's context of 40"):
        language_model.hidden(random_ids(1, 41), torch.ones(1, 41).bool())


def test_dropout_stays_off_in_training() -> None:
    model = tiny_language_model("gpt2").train()
    assert not any(module.training for module in model.model.modules())
    ids = random_ids(1, 8)
    assert torch.equal(*(model.hidden(ids, torch.ones_like(ids).bool()) for _ in range(2)))


def test_dropout_that_is_allowed_works_in_training_only(family: str) -> None:
    model, ids = tiny_language_model(family), random_ids(2, 6)
    seen = torch.ones_like(ids).bool()
    plain = model.hidden(ids, seen)
    model.allow_dropout(0.4)
    torch.manual_seed(1)
    assert not torch.allclose(model.train().hidden(ids, seen), plain, atol=1e-2)
    assert torch.equal(model.eval().hidden(ids, seen), plain)


def test_no_weight_is_registered_twice(language_model: LanguageModel) -> None:
    assert all(name.startswith("model.") for name in language_model.state_dict())


def test_load_gives_back_what_was_saved(family: str, tmp_path: Path) -> None:
    tiny_model(family, seed=5).save_pretrained(tmp_path)
    ids = random_ids(1, 6)
    model = LanguageModel.load(tmp_path)
    logits = model.logits(model.hidden(ids, torch.ones_like(ids).bool()))
    assert logits.shape == (1, 6, VOCABULARY)
    torch.testing.assert_close(logits, tiny_model(family, seed=5)(ids).logits, atol=1e-4, rtol=1e-4)


def test_a_model_that_rescales_its_logits_is_refused(tmp_path: Path) -> None:
    config = CohereConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=VOCABULARY
    )
    CohereForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="a cohere model is not supported"):
        LanguageModel.load(tmp_path)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_trunk_is_its_lower_part_and_what_stands_above_it(shape: str) -> None:
    model = tiny_language_model(shape)
    ids, mask = padded_queries()
    for layer in range(LAYERS):
        assert model.splits_at(layer)
        states, expected = model.hidden_layers(ids, mask, (layer, FINAL))
        found = model.run_above(layer, states, causal_mask(mask), position_ids(mask))
        torch.testing.assert_close(found[mask], expected[mask], atol=1e-5, rtol=1e-5)
    expected.sum().backward()
    wanted = [parameter.grad for parameter in model.blocks[1].parameters()]
    model.zero_grad(set_to_none=True)
    states = model.hidden_layers(ids, mask, (1,))[0].detach()
    model.run_above(1, states, causal_mask(mask), position_ids(mask)).sum().backward()
    for mine, theirs in zip(model.blocks[1].parameters(), wanted, strict=True):
        torch.testing.assert_close(mine.grad, theirs, atol=1e-4, rtol=1e-4)
    assert all(parameter.grad is None for parameter in model.blocks[0].parameters())


def test_the_upper_part_follows_its_weights() -> None:
    model = tiny_language_model("llama")
    ids, mask = padded_queries()
    where = causal_mask(mask), position_ids(mask)
    states = model.hidden_layers(ids, mask, (1,))[0].detach()
    before = model.run_above(1, states, *where)
    model.load_state_dict(tiny_language_model("llama", seed=1).state_dict())
    after = model.run_above(1, states, *where)
    fresh = tiny_language_model("llama", seed=1).run_above(1, states, *where)
    assert torch.equal(after, fresh)
    assert not torch.equal(after, before)


@pytest.mark.parametrize("biased", [False, True])
def test_scores_are_tempered_logits_filled_up_with_impossible_tokens(biased: bool) -> None:
    model = tiny_language_model("gpt_neox")
    if biased:
        head = model.model.get_output_embeddings()
        head.bias = torch.nn.Parameter(torch.linspace(-1, 1, VOCABULARY))
    hidden = torch.randn(3, model.width, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        scores = model.scores(hidden, 0.7, multiple_of=16)
        torch.testing.assert_close(scores[:, :VOCABULARY], model.logits(hidden) / 0.7)
    assert scores.shape == (3, 64)
    assert (scores[:, VOCABULARY:] == -torch.inf).all()
