"""A folder that holds something else than a causal LM is refused with a sentence that says what."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertModel,
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from tests.workers.nets.tiny import COMMON, VOCABULARY, random_ids, tiny_model
from workers.nets.language_model import LanguageModel

T5 = T5Config(d_model=32, num_layers=1, num_heads=2, vocab_size=VOCABULARY)
BLOOM = BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=VOCABULARY)
GEMMA = Gemma2Config(**COMMON, num_attention_heads=4, num_key_value_heads=1, head_dim=8)
NEO = GPTNeoConfig(hidden_size=32, num_layers=2, attention_types=[[["global", "local"], 1]], num_heads=4, vocab_size=61)
WINDOW = MistralConfig(**COMMON, num_attention_heads=4, num_key_value_heads=2, sliding_window=12)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (T5ForConditionalGeneration(T5), "a t5 model is no causal language model; choose another one, such as GPT-2"),
        (BertModel(BertConfig(**COMMON, num_attention_heads=4)), "lack .* weights, such as cls.*LM head included"),
        (BloomForCausalLM(BLOOM), r"a bloom model is not supported \(.*\); choose another one"),
        (Gemma2ForCausalLM(GEMMA), "a gemma2 model is not supported .*softcap"),
        (GPTNeoForCausalLM(NEO), "a gpt_neo model is not supported .it computes attention in a way of its own"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, PreTrainedModel) else "",
)
def test_what_cannot_be_used_is_named(model: PreTrainedModel, said: str, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=said):
        LanguageModel.load(tmp_path)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"config\.json cannot be read"):
        LanguageModel.load(tmp_path)
    tiny_model("gpt2").save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(ValueError, match=r"the weights cannot be read .*; save the model anew"):
        LanguageModel.load(tmp_path)


def test_a_lost_weight_is_no_random_weight(tmp_path: Path) -> None:
    tiny_model("gpt_neox").save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["embed_out.weight" if "embed_out.weight" in weights else "lm_head.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="the files lack 1 of the model's weights"):
        LanguageModel.load(tmp_path)


def test_a_sliding_window_bounds_the_context(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = MistralForCausalLM(WINDOW).eval()
    plain.save_pretrained(tmp_path)
    model, ids = LanguageModel.load(tmp_path), random_ids(1, 12)
    logits = model.logits(model.hidden(ids, torch.ones_like(ids).bool()))
    torch.testing.assert_close(logits, plain(ids).logits, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="13 tokens exceed the model's context of 12"):
        model.hidden(random_ids(1, 13), torch.ones(1, 13).bool())
