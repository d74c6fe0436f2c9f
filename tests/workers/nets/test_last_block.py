"""The last block for some tokens alone gives them what the whole block gives, forward and backward."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.gpt2.modeling_gpt2 import GPT2Block

from tests.workers.nets.tiny import LAYERS, SHAPES, padded_queries, random_ids, tiny_language_model
from workers.nets.language_model import FINAL, LanguageModel, causal_mask
from workers.nets.last_block import last_states, last_states_kept, splits_last
from workers.nets.precision import autocast
from workers.nets.value_head import response_hidden
from workers.rlhf.masks import position_ids
from workers.rlhf.types import TrunkStates

RESPONSES = random_ids(3, 5, seed=4)


def gradients(model: LanguageModel, loss: Tensor) -> list[Tensor | None]:
    model.zero_grad(set_to_none=True)
    loss.backward()
    return [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("read", [1, 3, 7])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_last_tokens_are_those_of_the_whole_block(shape: str, read: int) -> None:
    model = tiny_language_model(shape)
    ids, mask = padded_queries()
    assert splits_last(model)
    states, whole = model.hidden_layers(ids, mask, (LAYERS - 1, FINAL))
    found = last_states(model, states, causal_mask(mask), position_ids(mask), read=read)
    seen = mask[:, -read:]
    torch.testing.assert_close(found[seen], whole[:, -read:][seen], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("below", [None, 0, 1, LAYERS - 1])
def test_gradients_are_those_of_the_whole_block(family: str, below: int | None) -> None:
    found: list[list[Tensor | None]] = []
    for splits in (True, False):
        model = tiny_language_model(family)
        model.splits_last = splits
        trunk = None if below is None else TrunkStates(layer=below, states=_states(model, below))
        hidden = response_hidden(model, *padded_queries(), RESPONSES, trunk)
        look = torch.linspace(-1, 1, hidden.numel()).view(hidden.shape)
        found.append([hidden, *gradients(model, (hidden * look).sum())])
    for mine, theirs in zip(*found, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("splits", [True, False])
@pytest.mark.parametrize("below", [None, 1, LAYERS - 1])
def test_the_last_token_is_read_for_whoever_watches(family: str, below: int | None, splits: bool) -> None:
    model = tiny_language_model(family)
    model.splits_last = splits
    queries, mask = padded_queries()
    with torch.no_grad():
        expected = response_hidden(model, queries, mask, RESPONSES)
        states = None if below is None else TrunkStates(layer=below, states=_states(model, below, last_too=True))
        found = response_hidden(model, queries, mask, RESPONSES, states, last_too=True)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_keys_and_values_are_those_of_all_tokens(family: str) -> None:
    model = tiny_language_model(family)
    ids, mask = padded_queries()
    with torch.no_grad():
        (states,) = model.hidden_layers(ids, mask, (LAYERS - 1,))
        where = states, causal_mask(mask), position_ids(mask)
        _, parts = last_states_kept(model, *where, read=2)
        _, whole = last_states_kept(model, *where, read=7)
    torch.testing.assert_close(parts.keys, whole.keys, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(parts.values, whole.values, atol=1e-5, rtol=1e-5)


def test_bfloat16_differs_by_its_rounding(family: str) -> None:
    model = tiny_language_model(family)
    with torch.no_grad(), autocast("cpu", True):
        found = response_hidden(model, *padded_queries(), RESPONSES)
        assert model.splits_last
        model.splits_last = False
        expected = response_hidden(model, *padded_queries(), RESPONSES)
    assert (found - expected).norm() / expected.norm() < 0.02


def test_trying_it_within_autocast_leaves_the_gradients_alone(family: str) -> None:
    found: list[list[Tensor | None]] = []
    for known in (True, None):
        model = tiny_language_model(family)
        model.splits_last = known
        with autocast("cpu", True):
            hidden = response_hidden(model, *padded_queries(), RESPONSES)
        found.append(gradients(model, hidden.square().sum()))
    for mine, theirs in zip(*found, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            assert torch.equal(mine, theirs)


def test_trying_it_while_dropout_is_on_draws_nothing(family: str) -> None:
    model = tiny_language_model(family)
    model.allow_dropout(0.3)
    model.train()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert splits_last(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.model.training


class Forgetful(GPT2Block):  # type: ignore[misc]
    """A block that takes no keys from anybody."""

    def forward(self, hidden_states: Tensor, past_key_values: Any = None, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ARG002
        found: Tensor = super().forward(hidden_states, None, *args, **kwargs)
        return found


def test_a_block_that_cannot_be_split_is_run_whole() -> None:
    model, expected = tiny_language_model("gpt2"), tiny_language_model("gpt2")
    block = Forgetful(model.model.config, layer_idx=LAYERS - 1).eval()
    block.load_state_dict(model.blocks[-1].state_dict())
    model.blocks[LAYERS - 1] = block
    assert not splits_last(model)
    with torch.no_grad():
        found = response_hidden(model, *padded_queries(), RESPONSES)
        wanted = response_hidden(expected, *padded_queries(), RESPONSES)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def _states(model: LanguageModel, layer: int, *, last_too: bool = False) -> Tensor:
    queries, mask = padded_queries()
    ids = torch.cat([queries, RESPONSES if last_too else RESPONSES[:, :-1]], dim=1)
    real = torch.nn.functional.pad(mask, (0, ids.shape[1] - mask.shape[1]), value=True)
    (states,) = model.hidden_layers(ids, real, (layer,))
    return states.detach()
