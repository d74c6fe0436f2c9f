"""Scores made ready for many steps are those of the language model itself."""

import pytest
import torch
from torch import nn

from tests.workers.nets.tiny import VOCABULARY, tiny_language_model
from workers.nets.language_model import LanguageModel
from workers.nets.precision import autocast, exact
from workers.nets.scoring import scorer


def hidden_states(model: LanguageModel, rows: int = 50) -> torch.Tensor:
    drawn = 3 * torch.randn(rows, model.width, generator=torch.Generator().manual_seed(1))
    return drawn.to(model.device)


def test_they_are_the_logits_over_the_temperature_and_no_token_is_behind_them() -> None:
    model = tiny_language_model("gpt2")
    hidden = hidden_states(model)
    with torch.no_grad():
        found = scorer(model, 0.7, multiple_of=64)(hidden)
        expected = model.logits(hidden) / 0.7
    assert found.shape[1] % 64 == 0
    torch.testing.assert_close(found[:, :VOCABULARY], expected)
    assert (found[:, VOCABULARY:] == -torch.inf).all()


@pytest.mark.gpu
@pytest.mark.parametrize("bf16", [False, True])
def test_half_precision_keeps_the_bits_that_tensorfloat_keeps(bf16: bool) -> None:
    model = tiny_language_model("gpt2")
    model.to("cuda")
    hidden = hidden_states(model)
    with torch.no_grad():
        with exact():
            expected = model.logits(hidden).double() / 0.7
        torch.set_float32_matmul_precision("high")
        try:
            with autocast("cuda", bf16):
                found = scorer(model, 0.7, multiple_of=64)(hidden)
        finally:
            torch.set_float32_matmul_precision("highest")
    assert found.dtype == torch.float32
    assert (found[:, VOCABULARY:] == -torch.inf).all()
    sizes = (hidden.double().abs() / 0.7) @ model.model.get_output_embeddings().weight.double().abs().t()
    assert ((found[:, :VOCABULARY] - expected).abs() <= 2**-10 * sizes).all()


@pytest.mark.gpu
def test_weights_beyond_its_range_are_not_halved() -> None:
    model = tiny_language_model("llama")
    head = model.model.get_output_embeddings()
    assert type(head) is nn.Linear
    with torch.no_grad():
        head.weight[3, 0] = 1e6
    model.to("cuda")
    torch.set_float32_matmul_precision("high")
    try:
        with torch.no_grad():
            found = scorer(model, 1.0, multiple_of=64)(torch.eye(model.width, device="cuda"))
    finally:
        torch.set_float32_matmul_precision("highest")
    assert float(found[0, 3]) == pytest.approx(1e6, rel=1e-3)
