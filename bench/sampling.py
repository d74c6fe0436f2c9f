"""Samples per second against transformers' `generate`: four samples to each prompt, at equal precision.

    python -m bench sampling --model 124m --prompts 16 --pairs 3 --lanes fp32,bf16

Both in one process, in turn, on the same weights and prompts of one length, drawing from softmax(logits / T) without
top-k or top-p and never stopping early. Ours reads a prompt once for all its samples and returns log-probabilities and
values too. Prints a table and one JSON line.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from bench._shapes import SHAPES, machine, set_lane
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.nets.precision import autocast

TEMPERATURE = 0.7


def theirs(model: PreTrainedModel, ids: Tensor, *, samples: int, tokens: int, bf16: bool) -> Tensor:
    """(b * samples, q + tokens) by transformers."""
    asked = GenerationConfig(
        do_sample=True,
        temperature=TEMPERATURE,
        top_k=0,
        top_p=1.0,
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        num_return_sequences=samples,
        pad_token_id=0,
        eos_token_id=None,
    )
    with torch.inference_mode(), autocast(ids.device, bf16):
        written: Tensor = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=asked)
    return written


def ours(policy: Policy, ids: Tensor, *, samples: int, tokens: int, bf16: bool) -> Tensor:
    """(b * samples, tokens) by Prefloop."""
    with autocast(ids.device, bf16):
        return policy.generate(
            ids,
            torch.ones_like(ids, dtype=torch.bool),
            response_tokens=tokens,
            temperature=TEMPERATURE,
            generator=torch.Generator(ids.device).manual_seed(0),
            samples_per_query=samples,
        ).tokens


def timed(write: Callable[[], Tensor]) -> float:
    """Samples per second of one call."""
    began = time.perf_counter()
    rows = len(write())
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return rows / (time.perf_counter() - began)


def measure(options: argparse.Namespace, lane: str, models: tuple[PreTrainedModel, Policy]) -> dict[str, Any]:
    """Both in turn, after one call of each that is not counted."""
    bf16 = set_lane(lane)
    plain, policy = models
    words, shape = min(1000, plain.config.vocab_size), (options.prompts, options.query)
    ids = torch.randint(0, words, shape, generator=torch.Generator().manual_seed(1))
    ids = ids.to(plain.device)
    asked = {"samples": options.samples, "tokens": options.response, "bf16": bf16}
    sides: dict[str, Callable[[], Tensor]] = {
        "transformers": lambda: theirs(plain, ids, **asked),
        "prefloop": lambda: ours(policy, ids, **asked),
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(options.pairs + 1):
        for name, write in sides.items():
            rate = timed(write)
            if turn:
                rates[name].append(rate)
    ratios = [mine / other for mine, other in zip(rates["prefloop"], rates["transformers"], strict=True)]
    return {"lane": lane, "samples_per_second": rates, "times": statistics.median(ratios)}


def load(name: str) -> tuple[PreTrainedModel, Policy]:
    """The same weights twice: as transformers runs them by itself, and as Prefloop does."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in SHAPES:
        plain = AutoModelForCausalLM.from_pretrained(Path(name), local_files_only=True).to(device).eval()
        return plain, Policy(LanguageModel.load(Path(name), device=device)).requires_grad_(False)
    torch.manual_seed(0)
    plain, same = (SHAPES[name].model().to(device).eval() for _ in range(2))
    same.load_state_dict(plain.state_dict())
    return plain, Policy(LanguageModel(same)).requires_grad_(False)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """As Markdown."""
    lines = ["| lane | transformers, samples/s | Prefloop, samples/s | times |", "|---" * 4 + "|"]
    for row in rows:
        spread = [
            f"{statistics.median(rates):.2f} ({min(rates):.2f} to {max(rates):.2f})"
            for rates in row["samples_per_second"].values()
        ]
        lines.append(f"| {row['lane']} | {spread[0]} | {spread[1]} | {row['times']:.2f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Measure each lane, print."""
    parser = argparse.ArgumentParser(prog="python -m bench sampling", description=__doc__)
    parser.add_argument("--model", default="124m", help=f"one of {', '.join(SHAPES)}, or the folder of a model")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--samples", type=int, default=4, help="of each prompt")
    parser.add_argument("--query", type=int, default=64)
    parser.add_argument("--response", type=int, default=24)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0: as PyTorch finds them")
    parser.add_argument("--lanes", default="fp32,bf16")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    models = load(options.model)
    rows = [measure(options, lane, models) for lane in options.lanes.split(",")]
    print(table(rows))
    print(json.dumps({"bench": "sampling", **vars(options), "machine": machine(), "rows": rows}))


if __name__ == "__main__":
    main(sys.argv[1:])
