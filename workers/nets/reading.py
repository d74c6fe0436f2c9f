"""Reads the weights of a causal language model from a folder, with errors that say what the folder holds instead."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)

OTHERS = "choose another one, such as GPT-2, a Llama or a GPT-NeoX"
_BOUNDS = ("max_position_embeddings", "sliding_window", "window_size")


def read_causal_lm(folder: Path, *, dtype: torch.dtype) -> PreTrainedModel:
    """The model in a folder, dropout off.

    Raises: ValueError if the folder has no model, one of another kind, or only some of its weights.
    """
    config = _config(folder)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(f"{folder}: a {config.model_type} model is no causal language model; {OTHERS}")
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, config=config, dtype=dtype, local_files_only=True, output_loading_info=True
        )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # transformers and safetensors raise a dozen kinds
        raise ValueError(f"{folder}: the weights cannot be read ({first_line(error)}); save the model anew") from error
    if missing := sorted(report["missing_keys"]):
        raise ValueError(
            f"{folder}: the files lack {len(missing)} of the model's weights, such as {missing[0]}: save the whole "
            "model, its LM head included, with `save_pretrained`"
        )
    model.eval()
    return model


def context_of(config: PretrainedConfig) -> int | None:
    """Tokens in the longest text whose every token sees all before it: a sliding window ends it as the positions do."""
    bounds = (getattr(config, name, None) for name in _BOUNDS)
    return min((bound for bound in bounds if isinstance(bound, int) and bound > 0), default=None)


@contextmanager
def unsupported_is_named(folder: Path, model: PreTrainedModel) -> Iterator[None]:
    """Whatever a model of an unusual build raises becomes a ValueError that names its kind."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # attention, masks and caches of such models fail in ways of their own
        raise ValueError(
            f"{folder}: a {model.config.model_type} model is not supported ({first_line(error)}); {OTHERS}"
        ) from error


def _config(folder: Path) -> PretrainedConfig:
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # missing, no JSON, a kind unknown to this version of transformers
        raise ValueError(f"{folder}: config.json cannot be read ({first_line(error)}); {OTHERS}") from error


def first_line(error: Exception) -> str:
    """What an error says, short enough for a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")
