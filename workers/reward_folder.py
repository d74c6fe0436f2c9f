"""Reward models as Hugging Face folders.

One tuned or frozen model whose head reads the last token after the final norm is an
`AutoModelForSequenceClassification`; every other one is the language model, its head beside it, and a few lines of
Python (`score.py`) that put them together with transformers alone.
"""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from app.errors import InvalidError
from app.hparams import Pooling, TaskHParams
from workers.nets.language_model import FINAL
from workers.nets.reward_ensemble import Reward, RewardEnsemble
from workers.nets.reward_model import RewardModel

HEAD, HEAD_FILE, SCRIPT = "reward_head.json", "reward_head.safetensors", "score.py"
OFFSET = "score_offset"
"""Member of config.json: to be added to the logit where the architecture has no place for it."""


def write_reward_model(
    folder: Path, model: Reward, tokenizer: PreTrainedTokenizerBase, *, task: TaskHParams, reads: str
) -> bool:
    """Write a reward model; whether it is a sequence classifier.

    Args:
        task: how its prompts are cut and formatted.
        reads: `formatted` or `raw`: whether it reads the task's prefix and suffix.
    Raises: InvalidError for an ensemble of tuned models, which no single folder can hold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    classifier = as_classifier(model)
    tokenizer = copy.deepcopy(tokenizer)
    if classifier is not None:
        if tokenizer.pad_token_id is None:  # the classifier finds a row's last token by it
            tokenizer.pad_token = tokenizer.eos_token
        classifier.config.pad_token_id = tokenizer.pad_token_id
        classifier.save_pretrained(folder)
    else:
        _write_parts(folder, model, task=task, reads=reads)
    tokenizer.save_pretrained(folder)
    return classifier is not None


def as_classifier(model: Reward) -> PreTrainedModel | None:
    """The same scores as the one logit of a sequence classifier; None where its head reads anything else.

    A classifier's head has no bias. Where the final norm has one, the offset goes there, along the head's weight;
    otherwise it is `score_offset` of the config.
    """
    if isinstance(model, RewardEnsemble) or [tuple(read) for read in model.reads] != [(FINAL, Pooling.LAST)]:
        return None
    try:
        config = copy.deepcopy(model.trunk.model.config)
        config.num_labels = 1
        made: PreTrainedModel = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
        head: nn.Linear = made.score
    except (ValueError, AttributeError):  # an architecture without such a classifier
        return None
    made.base_model.load_state_dict(model.trunk.model.base_model.state_dict())
    weight = (model.gain * model.head.weight / model.feature_std).detach()  # (1, width)
    offset = model.gain * (model.head.bias - (model.head.weight * model.feature_mean / model.feature_std).sum())
    total = float((offset + model.bias).item())
    with torch.no_grad():
        head.weight.copy_(weight)
        norm = _final_norm(made)
        if norm is not None and getattr(norm, "bias", None) is not None and head.bias is None:
            norm.bias.add_((total * weight / weight.square().sum()).squeeze(0))
            total = 0.0
    setattr(made.config, OFFSET, total)
    return made.eval()


def _final_norm(model: PreTrainedModel) -> nn.Module | None:
    names = ("ln_f", "norm", "final_layer_norm", "final_layernorm")
    return next((getattr(model.base_model, name) for name in names if hasattr(model.base_model, name)), None)


def _write_parts(folder: Path, model: Reward, *, task: TaskHParams, reads: str) -> None:
    members = list(model.parts()) if isinstance(model, RewardEnsemble) else [model]
    first = members[0]
    if len(members) > 1 and not model.frozen:
        raise InvalidError("An ensemble of tuned models is several models: export it by single members (ensemble 1).")
    if any(read.layer == first.trunk.num_layers for read in first.reads):
        raise InvalidError("Its head reads the last layer before the final norm, which transformers does not give out.")
    causal = first.trunk.model
    causal.save_pretrained(folder)
    save_file(_tensors(members), folder / HEAD_FILE)
    own = [model.gain.item(), model.bias.item()] if isinstance(model, RewardEnsemble) else [1.0, 0.0]
    affixes = {"prefix": task.prefix, "suffix": task.suffix} if reads == "formatted" else {"prefix": "", "suffix": ""}
    head: dict[str, Any] = {
        "reads": [{"layer": read.layer, "pooling": str(read.pooling)} for read in first.reads],
        "members": len(members),
        "gain": own[0],
        "bias": own[1],
        "query_tokens": task.query_tokens,
        **affixes,
    }
    (folder / HEAD).write_text(json.dumps(head, indent=1) + "\n", encoding="utf-8")
    (folder / SCRIPT).write_text(SNIPPET, encoding="utf-8")


def _tensors(members: list[RewardModel]) -> dict[str, Tensor]:
    names = ("head.weight", "head.bias", "gain", "bias", "feature_mean", "feature_std", "attention")
    return {
        f"{number}.{name}": value.detach().float().contiguous().clone()
        for number, member in enumerate(members)
        for name, value in member.head_state_dict().items()
        if name in names
    }


SNIPPET = '''"""Scores of responses: `from score import score`. Needs torch, transformers and safetensors."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = Path(__file__).parent
head = json.loads((folder / "reward_head.json").read_text())
tensors = load_file(folder / "reward_head.safetensors")
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def ids_of(text):
    return tokenizer(text, add_special_tokens=False)["input_ids"] if text else []


def score(prompt, response):
    """The score of a whole response to a prompt."""
    start = tokenizer("a")["input_ids"][:1]
    start = start if start == [tokenizer.bos_token_id] else []
    room = head["query_tokens"] - len(start)
    query = start + ids_of(head["prefix"]) + ids_of(prompt)[-room:] + ids_of(head["suffix"])
    with torch.no_grad():
        states = model(torch.tensor([query + ids_of(response)]), output_hidden_states=True).hidden_states
    members = [member_score(number, states) for number in range(head["members"])]
    return head["gain"] * sum(members) / len(members) + head["bias"]


def member_score(number, states):
    own = {name.split(".", 1)[1]: value for name, value in tensors.items() if name.startswith(f"{number}.")}
    looks, pooled = iter(own.get("attention", ())), []
    for read in head["reads"]:
        layer = states[read["layer"]][0].float()  # (tokens, width)
        if read["pooling"] == "last":
            pooled.append(layer[-1])
        elif read["pooling"] == "mean":
            pooled.append(layer.mean(dim=0))
        else:
            pooled.append((layer * (layer @ next(looks)).softmax(dim=0).unsqueeze(1)).sum(dim=0))
    features = (torch.cat(pooled) - own["feature_mean"]) / own["feature_std"]
    return (own["gain"] * (own["head.weight"] @ features + own["head.bias"]) + own["bias"]).item()


if __name__ == "__main__":
    print(score(input("prompt: "), input("response: ")))
'''
