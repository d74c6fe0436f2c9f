"""Tiny random models of two families and random padded queries."""

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from workers.nets.language_model import LanguageModel

VOCABULARY = 61
LAYERS = 3


def tiny_model(family: str, *, seed: int = 0) -> PreTrainedModel:
    """Random weights, larger than usual so that tokens and positions matter; `llama` groups its key heads."""
    torch.manual_seed(seed)
    spread = {"initializer_range": 0.25, "vocab_size": VOCABULARY}
    if family == "gpt2":
        return GPT2LMHeadModel(GPT2Config(n_layer=LAYERS, n_head=4, n_embd=32, n_positions=40, **spread)).eval()
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=40,
        tie_word_embeddings=True,
        **spread,
    )
    return LlamaForCausalLM(config).eval()


def tiny_language_model(family: str, *, seed: int = 0) -> LanguageModel:
    return LanguageModel(tiny_model(family, seed=seed))


def random_ids(rows: int, width: int, *, seed: int = 0) -> Tensor:
    return torch.randint(VOCABULARY, (rows, width), generator=torch.Generator().manual_seed(seed))


def padded_queries(*, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(3, 7) ids, whatever stands in the padding, and their left-padding mask: 7, 4 and 1 real tokens."""
    return random_ids(3, 7, seed=seed), torch.arange(7) >= torch.tensor([[0], [3], [6]])
