"""PPO against TRL 1.12.0, the last release that had it: the same shapes, tokens, epochs and trained parameters.

    python -m bench ppo --model 124m --batch 32 --pairs 3 --lanes fp32,fp32-onednn,bf16

Both sides run as programs of their own, in turn (A B A B), since machines drift; ratios are of neighbours. Each of ours
also measures the matrix ceiling: the fastest product of the shape of a block. On a busy machine the ratio by CPU time
says more than that by the clock. `--agree` holds the numbers of both against each other on the same rollout first.
Prints a table and one JSON line.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench._peers import PINS, peer_python, run_json
from bench._ppo_agreement import agreement
from bench._shapes import LANES, REWARDS, SHAPES, machine

AS_IT_COMES = "trl as it comes"
"""It asks for bfloat16, which its trainer does not hand on, and computes activations twice."""


def words(options: argparse.Namespace) -> list[str]:
    """Arguments that both programs take."""
    numbers = asdict(SHAPES[options.model])
    numbers |= {name: getattr(options, name) for name in ("query", "response", "batch", "epochs", "steps")}
    numbers |= {"warmup": options.warmup, "threads": options.threads}
    return [word for name, number in numbers.items() for word in (f"--{name}", str(number))]


def ours(options: argparse.Namespace, lane: str, variant: str) -> dict[str, Any]:
    """One run of Prefloop."""
    top = ["--frozen", str(frozen_layers(options))]
    extra = {"shared": [], "separate": ["--separate"], "top": top, "compiled": ["--compiled"]}[variant]
    command: list[str | Path] = [sys.executable, "-m", "bench._ppo_ours", *words(options), "--lane", lane, *extra]
    command += ["--micro", str(options.micro), "--profile", str(options.profile), "--reward", options.reward]
    return run_json(command)


def theirs(options: argparse.Namespace, lane: str) -> dict[str, Any]:
    """One run of TRL, at its best in the lane: no gradient checkpointing, precision forced where it ignores it."""
    changes = {} if lane == AS_IT_COMES else {"ACCELERATE_MIXED_PRECISION": "bf16" if lane == "bf16" else "no"}
    lane_words = ["bf16-flag", "--gradient-checkpointing"] if lane == AS_IT_COMES else [lane]
    python, script = peer_python(options.peer_python), PINS.parent / "peers" / "trl_ppo.py"
    return run_json([python, script, *words(options), "--lane", *lane_words], changes)


def frozen_layers(options: argparse.Namespace) -> int:
    """Of the variant `top`: all but a third of the layers."""
    return SHAPES[options.model].layers * 2 // 3


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """For each lane, runs in turn: a peer's, then one of each variant of ours, as often as there are pairs."""
    for lane in options.lanes.split(","):
        runs: dict[str, list[dict[str, Any]]] = {}
        for _ in range(options.pairs):
            if not options.alone:
                runs.setdefault("trl", []).append(theirs(options, lane))
            if options.as_it_comes:
                runs.setdefault(AS_IT_COMES, []).append(theirs(options, AS_IT_COMES))
            for variant in options.variants.split(","):
                runs.setdefault(variant, []).append(ours(options, lane, variant))
        yield from (summary(lane, name, found, runs.get("trl"), runs.get(AS_IT_COMES)) for name, found in runs.items())


def summary(
    lane: str,
    name: str,
    runs: Sequence[dict[str, Any]],
    peers: Sequence[dict[str, Any]] | None = None,
    usual: Sequence[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Medians and ranges of one side in one lane, and ratios to the peer at its best and as it comes."""
    rates = [run["episodes_per_second"] for run in runs]
    row: dict[str, Any] = {
        "lane": lane,
        "side": name,
        "episodes_per_second": {"median": statistics.median(rates), "range": [min(rates), max(rates)]},
        "seconds": {key: statistics.median(run["seconds"][key] for run in runs) for key in runs[0]["seconds"]},
        "peak_mib": max(run["peak_mib"] for run in runs),
    }
    if name not in ("trl", AS_IT_COMES):
        row["of_ceiling"] = statistics.median(run["of_ceiling"] for run in runs)
        row["ceiling_gflops"] = statistics.median(run["ceiling_gflops"] for run in runs)
        row["profile"] = runs[-1].get("profile", [])
        if peers:
            row["times_trl_cpu"] = statistics.median(
                peer["seconds"]["cpu"] / run["seconds"]["cpu"] for run, peer in zip(runs, peers, strict=True)
            )
            row["times_trl"] = _times(rates, peers)
        if usual:
            row["times_as_it_comes"] = _times(rates, usual)
    return row


def _times(rates: Sequence[float], peers: Sequence[dict[str, Any]]) -> float:
    found: float = statistics.median(
        rate / peer["episodes_per_second"] for rate, peer in zip(rates, peers, strict=True)
    )
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """As Markdown."""
    lines = [
        "| lane | side | episodes/s (range) | x TRL (CPU) | generate / score / update, s | of ceiling | peak MiB |",
        "|---" * 7 + "|",
    ]
    for row in rows:
        rate, seconds = row["episodes_per_second"], row["seconds"]
        phases = " / ".join(f"{seconds[name]:.1f}" for name in ("generate", "score", "update"))
        times = f"{row['times_trl']:.2f} ({row['times_trl_cpu']:.2f})" if "times_trl" in row else ""
        times += f" and {row['times_as_it_comes']:.2f} as it comes" if "times_as_it_comes" in row else ""
        share = f"{row['of_ceiling']:.0%} of {row['ceiling_gflops']:.0f} GFLOP/s" if "of_ceiling" in row else ""
        spread = f"{rate['median']:.3f} ({rate['range'][0]:.3f} to {rate['range'][1]:.3f})"
        lines.append(
            f"| {row['lane']} | {row['side']} | {spread} | {times} | {phases} | {share} | {row['peak_mib']:.0f} |"
        )
    return "\n".join(lines)


def profiles(rows: Sequence[dict[str, Any]]) -> str:
    """Which operations take how much of a step of ours; a line for each side."""
    return "\n".join(
        f"{row['lane']} {row['side']}: " + ", ".join(f"{name} {share:.1%}" for name, share in row["profile"])
        for row in rows
        if row.get("profile")
    )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench ppo", description=__doc__)
    parser.add_argument("--model", choices=SHAPES, default="124m")
    parser.add_argument("--query", type=int, default=64)
    parser.add_argument("--response", type=int, default=24)
    parser.add_argument("--batch", type=int, default=32, help="episodes per step, at least 8")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=1, help="counted steps of each run")
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--micro", type=int, default=0, help="rows of ours per pass, for the memory; 0: the batch")
    parser.add_argument("--threads", type=int, default=0, help="0: as PyTorch finds them")
    parser.add_argument("--lanes", default=",".join(LANES))
    parser.add_argument("--variants", default="shared,separate,top", help="top: only the highest third is trained")
    parser.add_argument(
        "--reward", choices=REWARDS, default=REWARDS[0], help="ours; head: on the reference, as presets"
    )
    parser.add_argument("--agree", action="store_true", help="compare the numbers of both sides first")
    parser.add_argument("--as-it-comes", action="store_true", help="a run of the peer in its default settings, too")
    parser.add_argument("--peer-python", type=Path, help="an interpreter that has the peers; else one is made")
    parser.add_argument("--alone", action="store_true", help="without the peer")
    parser.add_argument("--profile", type=int, default=0, help="name so many of the longest operations of ours")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Compare, measure, print."""
    options = parse(arguments)
    agreed = agreement(options.peer_python) if options.agree else None
    rows = list(measure(options))
    print(table(rows))
    if options.profile:
        print(profiles(rows))
    facts = {name: getattr(options, name) for name in ("model", "query", "response", "batch", "epochs", "pairs")}
    print(json.dumps({"bench": "ppo", **facts, "machine": machine(), "agreement": agreed, "rows": rows}))


if __name__ == "__main__":
    main(sys.argv[1:])
