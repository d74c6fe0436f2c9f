"""Prefloop's training of a whole reward model in labels per second; run by `bench.reward`, prints one JSON line.

Counted is all of `reward_tuning.tune`, setting the scale before and after included.
"""

import argparse
import json
import resource
import time

import torch

from app.hparams import RewardHParams
from bench._shapes import LANES, Shape, machine, set_lane
from workers.nets.language_model import LanguageModel
from workers.nets.reward_model import RewardModel
from workers.reward_labels import EncodedLabel
from workers.reward_tuning import tune
from workers.rlhf.labels import Choice, picked


def labels(options: argparse.Namespace, count: int) -> list[EncodedLabel]:
    """Random tokens; the first sample is the best."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> list[list[int]]:
        rows: list[list[int]] = torch.randint(0, 50_000, shape, generator=generator).tolist()
        return rows

    return [
        EncodedLabel(
            prompt=str(number),
            query=tuple(drawn(1, options.query)[0]),
            responses=tuple(map(tuple, drawn(options.samples, options.response))),
            target=picked(0, options.samples),
        )
        for number in range(count)
    ]


def main() -> None:
    """Train on one batch uncounted, then on as many as asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("layers", "width", "heads", "query", "response", "samples", "batch", "steps", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--lane", choices=LANES, required=True)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    bf16 = set_lane(options.lane)
    torch.manual_seed(0)
    trunk = LanguageModel(Shape(layers=options.layers, width=options.width, heads=options.heads).model())
    model = RewardModel(trunk, frozen=False, generator=torch.Generator().manual_seed(0))
    hparams = RewardHParams(batch=options.batch)
    scale = [sample for label in labels(options, 2) for sample in label.samples]
    for count in (options.batch, options.batch * options.steps):
        began, cpu = time.perf_counter(), time.process_time()
        tune(
            model,
            labels(options, count),
            scale,
            kind=Choice(),
            hparams=hparams,
            generator=torch.Generator().manual_seed(0),
            bf16=bf16,
        )
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    facts = {
        "labels_per_second": count / seconds,
        "cpu_per_label": cpu_seconds / count,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "machine": machine(),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
