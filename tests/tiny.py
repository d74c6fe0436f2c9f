"""A tiny random GPT-2 with a tokenizer of a few words, as a folder: writes valid samples in milliseconds."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

END = "<|endoftext|>"
SPACE = "▁"
WORDS = ("the", "a", "she", "he", "it", "was", "and", "to", "of", "in", "happy", "sad", "sun", "rain", "home", "door")
TOKENS = (END, "[other]", *(SPACE + word for word in WORDS), ".", "!", ",")


def save_tiny_model(folder: Path, *, seed: int = 0) -> Path:
    """Write config, weights and tokenizer; about every twentieth token ends a sentence."""
    vocabulary = {token: number for number, token in enumerate(TOKENS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[other]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE)
    tokenizer.decoder = decoders.Metaspace(replacement=SPACE)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[other]", bos_token=END, eos_token=END)
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config = GPT2Config(
        n_layer=2, n_head=2, n_embd=16, n_positions=256, vocab_size=len(vocabulary), bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder
