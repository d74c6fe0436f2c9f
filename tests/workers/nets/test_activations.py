"""Fused activations compute what the composed ones compute."""

import math

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.activations import ACT2FN

from workers.nets.activations import fuse_activations

SMALL = GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=50)


def oracle(x: float) -> float:
    """Hendrycks and Gimpel 2016, section 2: the approximation by tanh."""
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@pytest.mark.parametrize("name", ["gelu_new", "gelu_fast"])
def test_values_and_slopes_are_those_of_the_approximation(name: str) -> None:
    module = torch.nn.ModuleDict({"act": ACT2FN[name]})
    assert fuse_activations(module) == 1
    x = torch.linspace(-6, 6, 49, dtype=torch.float64, requires_grad=True)
    y = module["act"](x)
    torch.testing.assert_close(y, torch.tensor([oracle(one) for one in x.tolist()], dtype=torch.float64))
    y.sum().backward()
    assert x.grad is not None
    step = 1e-6
    slopes = [(oracle(one + step) - oracle(one - step)) / (2 * step) for one in x.tolist()]
    torch.testing.assert_close(x.grad, torch.tensor(slopes, dtype=torch.float64), rtol=1e-6, atol=1e-8)


def test_every_block_is_reached_and_the_model_says_the_same() -> None:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(SMALL).eval()
    ids = torch.arange(12).view(2, 6)
    with torch.inference_mode():
        expected = model(ids).logits
        assert fuse_activations(model) == SMALL.n_layer
        torch.testing.assert_close(model(ids).logits, expected, rtol=0, atol=1e-6)
    assert fuse_activations(model) == 0


def test_what_is_one_operation_already_stays() -> None:
    config = LlamaConfig(
        num_hidden_layers=1, hidden_size=16, intermediate_size=32, num_attention_heads=2, vocab_size=50
    )
    assert fuse_activations(LlamaForCausalLM(config)) == 0
