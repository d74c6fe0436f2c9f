"""How far two epochs on the same episodes move a policy, by the form of Adam (reimplementation: PyTorch moves further).

    python -m bench adams --model smollm2-135m --batch 32

The published code divides by sqrt(v) + epsilon before the bias correction, PyTorch after it, which makes its first
steps larger where gradients are small. Both forms start from the same model and learn from the same samples. Prints a
table of the policy after its steps against the one that sampled, and one JSON line.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch

from app.rules import load_score
from app.texts import bundled_stories
from bench._shapes import machine
from workers.steps import Steps

FORMS = ("tensorflow", "pytorch")


def moved(form: str, options: argparse.Namespace) -> dict[str, float]:
    """One update by this form; the figures are of the tokens that count."""
    ppo = {
        "batch": options.batch,
        "micro_batch": options.batch,
        "episodes": options.batch * 64,
        "epochs": options.epochs,
    }
    ppo |= {"adam": form, "learning_rate": options.rate, "frozen_layers": 0.0}
    steps = Steps.open(options.model, home=options.home, changes={"ppo": ppo})
    prompts = list(islice(bundled_stories(), options.batch))
    samples = steps.sample(prompts)
    rollout = steps.trainer.rollout(samples.sampled, torch.tensor(samples.scores(load_score("vader"))))
    steps.trainer.step(rollout)
    models, objective = steps.trainer.models, steps.trainer.objective
    logprobs, _ = models.recompute(rollout.queries, rollout.query_mask, rollout.responses, rollout.trunk)
    mask = objective.mask(rollout)
    change = (logprobs - rollout.logprobs).flatten() if mask is None else (logprobs - rollout.logprobs)[mask]
    ratio = change.exp()
    return {
        "approxkl": 0.5 * change.square().mean().item(),
        "clipfrac": ((ratio - 1).abs() > steps.hparams.ppo.clip_ratio).float().mean().item(),
        "largest": ratio.max().item(),
        "least": ratio.min().item(),
    }


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench adams", description=__doc__)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--home", type=Path, default=Path("~/.prefloop"))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rate", type=float, default=1e-5)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Measure both, print."""
    options = parse(arguments)
    found = {form: moved(form, options) for form in FORMS}
    print("| Adam | approximate KL | clipped | largest ratio | least |\n" + "|---" * 5 + "|")
    for form, row in found.items():
        print(f"| {form} | {row['approxkl']:.2g} | {row['clipfrac']:.2%} | {row['largest']:.2f} | {row['least']:.2f} |")
    facts = {name: getattr(options, name) for name in ("model", "batch", "epochs", "rate")}
    print(json.dumps({"bench": "adams", **facts, "machine": machine(), "found": found}))


if __name__ == "__main__":
    main(sys.argv[1:])
