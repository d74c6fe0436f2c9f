"""PPO and sampling on one GPU, in one call of under eight minutes: correctness against the CPU first, then rates.

    python -m bench gpu --models 124m,774m

Random weights of GPT-2's shapes; needs PyTorch and transformers, no other package, no database and no file. With
`--device cpu --models tiny` the same steps run without a GPU. Prints a table and one JSON line; ends with code 1 if GPU
and CPU do not agree. What no time is left for is named.
"""

import argparse
import json
import math
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from bench._bare import STOOD_IN
from bench._ppo_ours import Stopwatch, batches, make_reward, make_trainer, now, one_step
from bench._shapes import SHAPES, Shape, episode_operations, machine, matrix_ceiling
from workers.nets.compiling import compile_all
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.nets.precision import autocast, configure, exact
from workers.rlhf.types import QueryBatch

BOUNDS = {
    "ratio_fp32": 1e-3,
    "ratio_bf16": 1e-2,
    "gradient_fp32": 1e-3,
    "gradient_bf16": 0.1,
    "ratio_compiled_fp32": 1e-3,
    "ratio_compiled_bf16": 1e-2,
}
"""On the largest (float32) and on the mean |ratio - 1| (bfloat16), as those of the trainer's guards; on gradients."""
KINDS = {"fp32": False, "bf16": True}
"""Whether the trunk runs in bfloat16."""
TEMPERATURE = 0.7


def agreement(shape: Shape, options: Namespace) -> dict[str, float]:
    """What the device computes, against the CPU in float32 on the same tokens.

    Returns: |ratio - 1| of the log-probabilities it samples with, by plain blocks and compiled ones; distance of the
        gradient it trains with, relative to the gradient's length.
    """
    torch.manual_seed(0)
    plain, moved = (Policy(LanguageModel(shape.model())) for _ in range(2))
    moved.load_state_dict(plain.state_dict())
    moved.to(options.device)
    found = {}
    for kind, bf16 in KINDS.items():
        tokens, found[f"ratio_{kind}"] = _ratio(plain, moved, options, bf16=bf16)
        with nullcontext() if bf16 else exact():
            trained = _gradient(moved, tokens, options, bf16=bf16)
        expected = _gradient(plain, tokens.cpu(), options, bf16=False)
        found[f"gradient_{kind}"] = float((trained - expected).norm() / expected.norm())
    compile_all(moved)
    return found | {
        f"ratio_compiled_{kind}": _ratio(plain, moved, options, bf16=bf16)[1] for kind, bf16 in KINDS.items()
    }


def _ratio(plain: Policy, moved: Policy, options: Namespace, *, bf16: bool) -> tuple[Tensor, float]:
    """Sampled tokens, and the largest |ratio - 1| of what is said of them; the mean in bfloat16."""
    with nullcontext() if bf16 else exact():
        tokens, logprobs = _written(moved, options, rows=8, bf16=bf16)
    errors = ((_said(plain, tokens.cpu(), options).detach() - logprobs.cpu()).exp() - 1).abs()
    return tokens, float(errors.mean() if bf16 else errors.max())


def _said(policy: Policy, tokens: Tensor, options: Namespace) -> Tensor:
    ids = _queries(len(tokens), options.query).to(tokens.device)
    logprobs: Tensor = policy(ids, ids >= 0, tokens, temperature=TEMPERATURE).logprobs
    return logprobs


def _gradient(policy: Policy, tokens: Tensor, options: Namespace, *, bf16: bool) -> Tensor:
    """Of the mean log-probability, in all weights that have a part in it; on the CPU."""
    policy.zero_grad()
    with autocast(tokens.device, bf16):
        said = _said(policy, tokens, options)
    said.mean().backward()
    return torch.cat([value.grad.flatten().cpu() for value in policy.parameters() if value.grad is not None])


def sampled_per_second_compiled(shape: Shape, options: Namespace) -> dict[int, float]:
    """As `sampled_per_second`, the blocks compiled."""
    return sampled_per_second(shape, options, compiled=True)


def sampled_per_second(shape: Shape, options: Namespace, *, compiled: bool = False) -> dict[int, float]:
    """Tokens per second by batch size, queries read once for all their samples."""
    policy = Policy(LanguageModel(shape.model().to(options.device))).requires_grad_(False)
    if compiled:
        compile_all(policy)
    return {rows: _sampling_rate(policy, options, rows) for rows in map(int, options.batches.split(","))}


def _sampling_rate(policy: Policy, options: Namespace, rows: int) -> float:
    _written(policy, options, rows=rows // options.samples, bf16=True, samples=options.samples)
    began = now()
    tokens, _ = _written(policy, options, rows=rows // options.samples, bf16=True, samples=options.samples)
    return tokens.numel() / (now() - began)


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
        reward="model",
        compiled=compiled,
        micro=rows_at_once(shape, options.batch),
    )
    if options.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    trainer = make_trainer(asked, bf16=True, device=options.device)
    reward = make_reward(asked, trainer)
    watch = Stopwatch(trainer.reference)
    steps = [
        one_step(trainer, QueryBatch.same(ids, ids >= 0), reward, watch)
        for ids in (rows.to(options.device) for rows in batches(asked))
    ]
    step = sorted(steps[asked.warmup :], key=lambda one: one["step"])[1]
    tokens = options.query + options.response
    whole = episode_operations(shape, options.query, options.response, options.epochs)
    once = episode_operations(shape, options.query, options.response, 0)
    rows = options.batch * tokens
    # Of the faster type: where bfloat16 is emulated the head, which stays float32, runs far above its peak.
    peak = max(matrix_ceiling(shape, rows, bf16=bf16, device=options.device) for bf16 in (True, False))
    return {
        "episodes_per_second": options.batch / step["step"],
        "update_of_peak": options.batch * (whole - once) / step["update"] / peak,
        "peak_tflops": peak / 1e12,
        "generate_s": step["generate"],
        "score_s": step["score"],
        "update_s": step["update"],
        "memory_gib": torch.cuda.max_memory_allocated() / 2**30 if options.device == "cuda" else 0.0,
    }


def rows_at_once(shape: Shape, batch: int) -> int:
    """Rows of a micro-batch: a whole batch's activations of 124M, a power of two less of what is larger."""
    times = math.ceil(shape.layers * shape.width / (SHAPES["124m"].layers * SHAPES["124m"].width))
    return max(1, batch >> (times - 1).bit_length())


PARTS: dict[str, Callable[[Shape, Namespace], Mapping[Any, float]]] = {
    "agreement": agreement,
    "sampled_per_second": sampled_per_second,
    "sampled_per_second_compiled": sampled_per_second_compiled,
    "training": training,
    "training_compiled": training_compiled,
}


def measure(options: Namespace) -> Iterator[dict[str, Any]]:
    """One row per model and figure; later ones are left out once the time is up."""
    until = time.monotonic() + options.seconds
    for name in options.models.split(","):
        for part in options.parts.split(","):
            function = PARTS[part]
            found = None if time.monotonic() > until else _if_it_fits(function, SHAPES[name], options)
            yield {"model": name, "part": part, "found": found}


def _if_it_fits(part: Callable[[Shape, Namespace], Mapping[Any, float]], shape: Shape, options: Namespace) -> Any:
    try:
        return part(shape, options)
    except torch.OutOfMemoryError as error:  # of the largest model or batch: the others' figures are kept
        return {"out_of_memory": str(error).splitlines()[0]}


def disagrees(row: dict[str, Any]) -> bool:
    """Whether a row says that the device computes something else."""
    found = row["found"]
    if row["part"] != "agreement" or found is None:
        return False
    return not all(found.get(name, math.nan) <= bound for name, bound in BOUNDS.items())


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


def parse(arguments: Sequence[str]) -> Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench gpu", description=__doc__)
    parser.add_argument("--models", default="124m,774m")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--query", type=int, default=64)
    parser.add_argument("--response", type=int, default=24)
    parser.add_argument("--batch", type=int, default=1024, help="episodes per PPO step")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batches", default="64,512,2048,8192", help="samples written at once")
    parser.add_argument("--samples", type=int, default=4, help="of each query, where tokens per second are measured")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seconds", type=float, default=420, help="nothing is begun later than this")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Measure, print, exit."""
    options = parse(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("there is no CUDA device: give --device cpu --models tiny to see the same steps on this machine")
    configure(options.device)
    print("| model | part | found |\n|---|---|---|")
    rows = []
    for row in measure(options):
        rows.append(row)
        print(f"| {row['model']} | {row['part']} | {row['found'] or 'no time left'} |", flush=True)
        if disagrees(row):
            break
    print(json.dumps({"bench": "gpu", **vars(options), "without": STOOD_IN, "machine": machine(), "rows": rows}))
    sys.exit(1 if any(map(disagrees, rows)) else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
