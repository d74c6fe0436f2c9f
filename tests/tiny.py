"""A tiny random model with a tokenizer of a few words, as a folder: writes valid samples in milliseconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

END = "<|endoftext|>"
SPACE = "▁"
WORDS = ("the", "a", "she", "he", "it", "was", "and", "to", "of", "in", "happy", "sad", "sun", "rain", "home", "door")
TOKENS = (END, "[other]", *(SPACE + word for word in WORDS), ".", "!", ",")


def save_tiny_model(folder: Path, *, seed: int = 0, family: str = "gpt2", layers: int = 2) -> Path:
    """Write config, weights and tokenizer; about every twentieth token ends a sentence."""
    vocabulary = {token: number for number, token in enumerate(TOKENS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[other]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE)
    tokenizer.decoder = decoders.Metaspace(replacement=SPACE)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[other]", bos_token=END, eos_token=END)
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    FAMILIES[family](layers).save_pretrained(folder)
    return folder


def _gpt2(layers: int) -> PreTrainedModel:
    shape: dict[str, Any] = {"n_layer": layers, "n_head": 2, "n_embd": 16, "n_positions": 256}
    return GPT2LMHeadModel(GPT2Config(**shape, vocab_size=len(TOKENS), bos_token_id=0, eos_token_id=0))


def _llama(layers: int) -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**_COMMON, num_hidden_layers=layers, num_key_value_heads=1))


def _gpt_neox(layers: int) -> PreTrainedModel:
    return GPTNeoXForCausalLM(GPTNeoXConfig(**_COMMON, num_hidden_layers=layers))


_COMMON: dict[str, Any] = {
    "num_attention_heads": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
    "max_position_embeddings": 256,
    "vocab_size": len(TOKENS),
    "bos_token_id": 0,
    "eos_token_id": 0,
}
FAMILIES: dict[str, Callable[[int], PreTrainedModel]] = {"gpt2": _gpt2, "llama": _llama, "gpt_neox": _gpt_neox}
