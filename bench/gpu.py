"""PPO and sampling on one GPU, in one call of under eight minutes: correctness against the CPU first, then rates.

    python -m bench gpu --models 124m,774m

Random weights of GPT-2's shapes; needs PyTorch, transformers, pydantic and structlog, no database and no file. With
`--device cpu --models tiny` the same steps run without a GPU. Prints a table and one JSON line; ends with code 1 if GPU
and CPU do not agree. What no time is left for is named.
"""

import argparse
import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench._ppo_ours import Stopwatch, batches, make_reward, make_trainer, one_step
from bench._shapes import SHAPES, Shape, episode_operations, machine, matrix_ceiling
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.nets.precision import autocast
from workers.rlhf.types import QueryBatch

RATIO_FP32 = 1e-3
RATIO_BF16 = 1e-2
"""Bounds on the largest and on the mean |ratio - 1|, as those of the trainer's guards."""
TEMPERATURE = 0.7


def agreement(shape: Shape, options: Namespace) -> dict[str, float]:
    """|ratio - 1| of what the device samples with, against the same tokens read by the CPU in float32."""
    torch.manual_seed(0)
    plain = Policy(LanguageModel(shape.model())).requires_grad_(False)
    moved = Policy(LanguageModel(shape.model())).requires_grad_(False)
    moved.load_state_dict(plain.state_dict())
    moved.to(options.device)
    found = {}
    for name, bf16 in (("largest_fp32", False), ("mean_bf16", True)):
        tokens, logprobs = _written(moved, options, rows=8, bf16=bf16)
        ids = _queries(8, options.query)
        said = plain(ids, ids >= 0, tokens.cpu(), temperature=TEMPERATURE).logprobs
        errors = ((said - logprobs.cpu()).exp() - 1).abs()
        found[name] = float(errors.mean() if bf16 else errors.max())
    return found


def sampled_per_second(shape: Shape, options: Namespace) -> dict[int, float]:
    """Tokens per second by batch size, queries read once for four samples each."""
    policy = Policy(LanguageModel(shape.model().to(options.device))).requires_grad_(False)
    return {rows: _sampling_rate(policy, options, rows) for rows in map(int, options.batches.split(","))}


def _sampling_rate(policy: Policy, options: Namespace, rows: int) -> float:
    _written(policy, options, rows=rows // 4, bf16=True, samples=4)
    began = _now(options.device)
    tokens, _ = _written(policy, options, rows=rows // 4, bf16=True, samples=4)
    return tokens.numel() / (_now(options.device) - began)


def training_compiled(shape: Shape, options: Namespace) -> dict[str, float]:
    """As `training`, the blocks compiled."""
    return training(shape, options, compiled=True)


def training(shape: Shape, options: Namespace, *, compiled: bool = False) -> dict[str, float]:
    """Episodes per second of whole PPO steps, and what share of the measured matrix peak the update reaches."""
    asked = Namespace(
        **{name: getattr(shape, name) for name in ("layers", "width", "heads")},
        **{name: getattr(options, name) for name in ("query", "response", "batch", "epochs")},
        steps=3,
        warmup=1,
        separate=False,
        frozen=0,
        plain_trunk=False,
        compiled=compiled,
    )
    trainer, reward = make_trainer(asked, bf16=True, device=options.device), make_reward(asked, device=options.device)
    watch = Stopwatch(trainer.reference)
    steps = [
        one_step(trainer, QueryBatch.same(ids, ids >= 0), reward, watch)
        for ids in (rows.to(options.device) for rows in batches(asked))
    ]
    step = sorted(steps[asked.warmup :], key=lambda one: one["step"])[1]
    tokens = options.query + options.response
    whole = episode_operations(shape, options.query, options.response, options.epochs)
    once = episode_operations(shape, options.query, options.response, 0)
    peak = matrix_ceiling(shape, options.batch * tokens, bf16=True, device=options.device)
    return {
        "episodes_per_second": options.batch / step["step"],
        "update_of_peak": options.batch * (whole - once) / step["update"] / peak,
        "peak_tflops": peak / 1e12,
        "generate_s": step["generate"],
        "score_s": step["score"],
        "update_s": step["update"],
        "memory_gib": torch.cuda.max_memory_allocated() / 2**30 if options.device == "cuda" else 0.0,
    }


PARTS: dict[str, Callable[[Shape, Namespace], Mapping[Any, float]]] = {
    "agreement": agreement,
    "sampled_per_second": sampled_per_second,
    "training": training,
    "training_compiled": training_compiled,
}


def measure(options: Namespace) -> Iterator[dict[str, Any]]:
    """One row per model and figure; later ones are left out once the time is up."""
    until = time.monotonic() + options.seconds
    for part in options.parts.split(","):
        function = PARTS[part]
        for name in options.models.split(","):
            late = time.monotonic() > until
            yield {"model": name, "part": part, "found": None if late else function(SHAPES[name], options)}


def disagrees(row: dict[str, Any]) -> bool:
    """Whether a row says that the device computes something else."""
    found = row["found"]
    wrong: bool = (
        row["part"] == "agreement"
        and found is not None
        and not (found["largest_fp32"] <= RATIO_FP32 and found["mean_bf16"] <= RATIO_BF16)
    )
    return wrong


def _written(policy: Policy, options: Namespace, *, rows: int, bf16: bool, samples: int = 1) -> tuple[Tensor, Tensor]:
    ids = _queries(rows, options.query).to(options.device)
    with autocast(options.device, bf16):
        written = policy.generate(
            ids,
            ids >= 0,
            response_tokens=options.response,
            temperature=TEMPERATURE,
            generator=torch.Generator(options.device).manual_seed(0),
            samples_per_query=samples,
        )
    return written.tokens, written.logprobs


def _queries(rows: int, length: int) -> Tensor:
    return torch.randint(0, 50_000, (rows, length), generator=torch.Generator().manual_seed(1))


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def parse(arguments: Sequence[str]) -> Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench gpu", description=__doc__)
    parser.add_argument("--models", default="124m,774m")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--query", type=int, default=64)
    parser.add_argument("--response", type=int, default=24)
    parser.add_argument("--batch", type=int, default=512, help="episodes per PPO step")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batches", default="64,512,2048", help="samples written at once")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seconds", type=float, default=420, help="nothing is begun later than this")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Measure, print, exit."""
    options = parse(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("there is no CUDA device: give --device cpu --models tiny to see the same steps on this machine")
    print("| model | part | found |\n|---|---|---|")
    rows = []
    for row in measure(options):
        rows.append(row)
        print(f"| {row['model']} | {row['part']} | {row['found'] or 'no time left'} |", flush=True)
        if disagrees(row):
            break
    print(json.dumps({"bench": "gpu", **vars(options), "machine": machine(), "rows": rows}))
    sys.exit(1 if any(map(disagrees, rows)) else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
