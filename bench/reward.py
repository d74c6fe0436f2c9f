"""Training a whole reward model against TRL's RewardTrainer, on the same comparisons: best of four, there as pairs.

    python -m bench reward --model 124m --batch 8 --pairs 3

Both as programs of their own, in turn; a label is the best of `--samples` responses, for TRL that one against each
other. Prints a table and one JSON line.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench._peers import PINS, peer_python, run_json
from bench._shapes import LANES, SHAPES, machine


def measure(options: argparse.Namespace, lane: str) -> dict[str, Any]:
    """Runs of both in turn, and the medians of what neighbours come to."""
    numbers = asdict(SHAPES[options.model])
    numbers |= {name: getattr(options, name) for name in ("query", "response", "samples", "batch", "steps", "threads")}
    words = [word for name, number in numbers.items() for word in (f"--{name}", str(number))]
    sides: dict[str, list[str | Path]] = {
        "trl": [peer_python(options.peer_python), PINS.parent / "peers" / "trl_reward.py"],
        "prefloop": [sys.executable, "-m", "bench._reward_ours"],
    }
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for _ in range(options.pairs):
        for name, command in sides.items():
            runs[name].append(run_json([*command, *words, "--lane", lane]))
    both = list(zip(runs["trl"], runs["prefloop"], strict=True))
    return {
        "lane": lane,
        "labels_per_second": {name: [run["labels_per_second"] for run in found] for name, found in runs.items()},
        "peak_mib": {name: max(run["peak_mib"] for run in found) for name, found in runs.items()},
        "times": statistics.median(mine["labels_per_second"] / peer["labels_per_second"] for peer, mine in both),
        "times_cpu": statistics.median(peer["cpu_per_label"] / mine["cpu_per_label"] for peer, mine in both),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """As Markdown."""
    lines = [
        "| lane | TRL, labels/s | Prefloop, labels/s | times (by CPU time) | peak MiB, TRL and Prefloop |",
        "|---" * 5 + "|",
    ]
    for row in rows:
        rates = [
            f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
            for found in row["labels_per_second"].values()
        ]
        peaks = " and ".join(f"{peak:.0f}" for peak in row["peak_mib"].values())
        lines.append(
            f"| {row['lane']} | {rates[0]} | {rates[1]} | {row['times']:.2f} ({row['times_cpu']:.2f}) | {peaks} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Measure each lane, print."""
    parser = argparse.ArgumentParser(prog="python -m bench reward", description=__doc__)
    parser.add_argument("--model", choices=SHAPES, default="124m")
    parser.add_argument("--query", type=int, default=64)
    parser.add_argument("--response", type=int, default=24)
    parser.add_argument("--samples", type=int, default=4, help="of which one is the best")
    parser.add_argument("--batch", type=int, default=8, help="labels per optimizer step")
    parser.add_argument("--steps", type=int, default=3, help="counted steps of each run")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0: as PyTorch finds them")
    parser.add_argument("--peer-python", type=Path, help="an interpreter that has the peers; else one is made")
    parser.add_argument("--lanes", default=",".join(LANES))
    options = parser.parse_args(arguments)
    rows = [measure(options, lane) for lane in options.lanes.split(",")]
    print(table(rows))
    print(
        json.dumps(
            {
                "bench": "reward",
                **vars(options) | {"peer_python": str(options.peer_python)},
                "machine": machine(),
                "rows": rows,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
