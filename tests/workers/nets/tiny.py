"""Tiny random models of several families and shapes, and random padded queries."""

from typing import Any

import torch
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from workers.nets.language_model import LanguageModel

VOCABULARY = 61
LAYERS = 3
SPREAD: dict[str, Any] = {"initializer_range": 0.25, "vocab_size": VOCABULARY}
COMMON: dict[str, Any] = SPREAD | {
    "hidden_size": 32,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}


FAMILIES = ("gpt2", "llama", "gpt_neox")
"""Absolute positions; rotary ones, key heads in groups; rotary ones on part of a head, parallel blocks, untied head."""
VARIANTS = ("gpt2-wide", "gpt2-scaled", "gpt2-one_head", "llama-one_group", "llama-untied", "gpt_neox-serial_tied")
SHAPES = FAMILIES + VARIANTS


def tiny_model(shape: str, *, seed: int = 0, layers: int = LAYERS) -> PreTrainedModel:
    """Random weights, larger than usual so that tokens and positions matter; `shape` is one of SHAPES."""
    torch.manual_seed(seed)
    family, _, variant = shape.partition("-")
    model: PreTrainedModel = {"gpt2": _gpt2, "llama": _llama, "gpt_neox": _gpt_neox}[family](variant, layers)
    return model.eval()


def _gpt2(variant: str, layers: int) -> PreTrainedModel:
    changes: dict[str, dict[str, Any]] = {
        "wide": {"n_inner": 80, "activation_function": "gelu"},
        "scaled": {"scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True},
        "one_head": {"n_head": 1},
    }
    config = {"n_layer": layers, "n_head": 4, "n_embd": 32, "n_positions": 40}
    return GPT2LMHeadModel(GPT2Config(**SPREAD | config | changes.get(variant, {})))


def _llama(variant: str, layers: int) -> PreTrainedModel:
    changes: dict[str, dict[str, Any]] = {
        "one_group": {"num_key_value_heads": 1},
        "untied": {"tie_word_embeddings": False},
    }
    config = {
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    }
    return LlamaForCausalLM(LlamaConfig(**COMMON | config | changes.get(variant, {})))


def _gpt_neox(variant: str, layers: int) -> PreTrainedModel:
    changes: dict[str, dict[str, Any]] = {"serial_tied": {"use_parallel_residual": False, "tie_word_embeddings": True}}
    config = {"num_hidden_layers": layers, "num_attention_heads": 4, "rotary_pct": 0.5}
    return GPTNeoXForCausalLM(GPTNeoXConfig(**COMMON | config | changes.get(variant, {})))


def tiny_language_model(shape: str, *, seed: int = 0, layers: int = LAYERS) -> LanguageModel:
    return LanguageModel(tiny_model(shape, seed=seed, layers=layers))


def random_ids(rows: int, width: int, *, seed: int = 0) -> Tensor:
    return torch.randint(VOCABULARY, (rows, width), generator=torch.Generator().manual_seed(seed))


def padded_queries(*, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(3, 7) ids, whatever stands in the padding, and their left-padding mask: 7, 4 and 1 real tokens."""
    return random_ids(3, 7, seed=seed), torch.arange(7) >= torch.tensor([[0], [3], [6]])
