"""How well a reward head predicts choices, by the number of labels: which hidden states it should read.

Run from the repository root: `python -m bench.label_efficiency --model FOLDER --work FOLDER`. Samples and features are
kept in the work folder, so a second run with other heads or rules takes a minute. Labels come from a rule, as in
`prefloop simulate`. Where it likes several texts equally well its pick tells nothing, which bounds what can be reached.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.hparams import preset
from app.rules import load_rule
from workers.nets.language_model import FINAL, LanguageModel
from workers.nets.policy import Policy
from workers.nets.precision import autocast, configure
from workers.nets.tokenizer import encode_queries, load_tokenizer, terminator_ids
from workers.reward_features import batches, pad
from workers.reward_fitting import PENALTIES
from workers.reward_labels import EncodedSample
from workers.rlhf.intervals import wilson
from workers.rlhf.probe import assign_folds, cross_validate, fit_linear
from workers.sampler import Sampler, sample_comparisons

PROMPTS = Path(__file__).parents[1] / "app" / "data" / "stories.jsonl"
DEPTHS = (0.2, 0.33, 0.5, 0.6, 0.67, 0.8, 1.0)
POOLS = ("mean", "response", "last")
FOLDS = 5
PROMPTS_AT_ONCE = 8

Read = tuple[float, str]
"""Depth and pool."""
HEADS: dict[str, tuple[Read, ...]] = {
    **{f"{pool} at {depth}": ((depth, pool),) for pool, depth in product(POOLS, DEPTHS)},
    "mean at 0.33, 0.5, 0.67": tuple((depth, "mean") for depth in (0.33, 0.5, 0.67)),
    "mean at all": tuple((depth, "mean") for depth in DEPTHS),
    "response at 0.33, 0.5, 0.67": tuple((depth, "response") for depth in (0.33, 0.5, 0.67)),
    "mean and last at 0.5, 0.67": tuple(product((0.5, 0.67), ("mean", "last"))),
    "mean and response at 0.5": ((0.5, "mean"), (0.5, "response")),
}


def write_comparisons(model: LanguageModel, folder: Path, prompts: Path, count: int, out: Path, *, bf16: bool) -> None:
    """Continue `count` prompts four times each; a file that holds some already is completed."""
    task, tokenizer = preset("sentiment-small").task, load_tokenizer(folder)
    terminators = torch.tensor(terminator_ids(tokenizer, str(task.terminator)))
    sampler = Sampler(writer=Policy(model), decoder=tokenizer, task=task, terminators=terminators)
    texts = [json.loads(line)["text"] for line in prompts.read_text().splitlines()][:count]
    lines = out.read_text().splitlines() if out.exists() else []
    done = texts.index(json.loads(lines[-1])["prompt"]) + 1 if lines else 0
    with out.open("a") as file:
        for start in range(done, len(texts), PROMPTS_AT_ONCE):
            some = texts[start : start + PROMPTS_AT_ONCE]
            queries, mask = encode_queries(tokenizer, some, max_tokens=task.query_tokens)
            with autocast("cpu", bf16):
                sampled = sample_comparisons(sampler, queries, mask, seed=start)
            for one in sampled:
                row = {
                    "prompt": some[one.prompt],
                    "query": queries[one.prompt][mask[one.prompt]].tolist(),
                    "responses": [draw.tokens[: draw.kept_tokens] for draw in one.draws],
                    "texts": [draw.text for draw in one.draws],
                }
                file.write(json.dumps(row) + "\n")
            file.flush()
            print(f"{start + len(some)} of {len(texts)} prompts continued", flush=True)


def pooled(model: LanguageModel, samples: Sequence[EncodedSample], *, bf16: bool) -> dict[Read, Tensor]:
    """(n, width) float32 for each depth and pool."""
    layers = tuple(FINAL if depth == 1 else model.layer_at(depth) for depth in DEPTHS)
    features = {read: torch.empty(len(samples), model.width) for read in product(DEPTHS, POOLS)}
    with torch.inference_mode():
        for rows in batches(samples):
            padded = pad([samples[i] for i in rows], model.device)
            response = torch.cat([torch.zeros_like(padded.query_mask), padded.response_mask], dim=1)
            mask = torch.cat([padded.query_mask, padded.response_mask], dim=1)
            ids = torch.cat([padded.queries, padded.responses], dim=1)
            with autocast(model.device, bf16):
                states = model.hidden_layers(ids, mask, layers)
            last = (torch.arange(mask.shape[1]) * mask).argmax(dim=1)
            for depth, state in zip(DEPTHS, states, strict=True):
                features[depth, "mean"][rows] = _mean(state.float(), mask)
                features[depth, "response"][rows] = _mean(state.float(), response)
                features[depth, "last"][rows] = state.float()[torch.arange(len(rows)), last]
    return features


def accuracies(
    features: Tensor, best: Tensor, prompts: Sequence[str], counts: Sequence[int], held_out: int
) -> Iterator[str]:
    """For each number of labels, loss and accuracy with its interval on the last `held_out` comparisons, as text.

    Args:
        features: (n, k, d) float64.
        best: (n,) int64.
    """
    for count in counts:
        seen, chosen = features[:count], best[:count]
        std, mean = torch.std_mean(seen, dim=(0, 1), correction=0)
        seen, unseen = (seen - mean) / std.clamp_min(1e-6), (features[-held_out:] - mean) / std.clamp_min(1e-6)
        folds = assign_folds(prompts[:count], FOLDS, torch.Generator().manual_seed(0))
        penalties = [penalty * seen.shape[-1] for penalty in PENALTIES]
        targets = torch.eye(seen.shape[1], dtype=seen.dtype)[chosen]
        fit = fit_linear(seen, targets, l2=cross_validate(seen, targets, folds, penalties).l2)
        scores = fit.scores(unseen)
        share = wilson(int((scores.argmax(dim=1) == best[-held_out:]).sum()), held_out)
        loss = torch.nn.functional.cross_entropy(scores, best[-held_out:]).item()
        yield f"{loss:.3f} {share.value:.0%} ({share.low:.0%}-{share.high:.0%})"


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    return states.masked_fill(~mask.unsqueeze(-1), 0).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def _comparisons(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    path: Path = arguments.work / "comparisons.jsonl"
    if not path.exists() or len(path.read_text().splitlines()) < arguments.comparisons:
        model = LanguageModel.load(arguments.model)
        bf16 = configure("cpu").bf16
        write_comparisons(model, arguments.model, arguments.prompts, arguments.comparisons, path, bf16=bf16)
    return [json.loads(line) for line in path.read_text().splitlines()][: arguments.comparisons]


def _features(arguments: argparse.Namespace, rows: Sequence[dict[str, Any]]) -> dict[Read, Tensor]:
    kept: Path = arguments.work / f"features-{len(rows)}.pt"
    if kept.exists():
        found: dict[Read, Tensor] = torch.load(kept)
        return found
    model = LanguageModel.load(arguments.model)
    samples = [EncodedSample(tuple(row["query"]), tuple(ids)) for row in rows for ids in row["responses"]]
    found = pooled(model, samples, bf16=configure("cpu").bf16)
    torch.save(found, kept)
    return found


def _print_table(arguments: argparse.Namespace, rows: Sequence[dict[str, Any]], rule_name: str) -> None:
    rule = load_rule(rule_name)
    best = torch.tensor([rule(row["prompt"], row["texts"]) for row in rows])
    prompts, features = [row["prompt"] for row in rows], _features(arguments, rows)
    print(
        f"\n{rule_name}: loss in nats and accuracy on {arguments.held_out} held-out comparisons, by number of labels\n"
    )
    print("| head | " + " | ".join(map(str, arguments.labels)) + " |")
    print("|---" * (len(arguments.labels) + 1) + "|")
    for name, reads in HEADS.items():
        together = torch.cat([features[read] for read in reads], dim=-1).double().unflatten(0, (len(rows), -1))
        cells = accuracies(together, best, prompts, arguments.labels, arguments.held_out)
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Print one table per rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the language model")
    parser.add_argument("--work", type=Path, required=True, help="folder for samples and features")
    parser.add_argument("--prompts", type=Path, default=PROMPTS)
    parser.add_argument("--comparisons", type=int, default=900)
    parser.add_argument("--held-out", type=int, default=300)
    parser.add_argument("--labels", type=int, nargs="+", default=[64, 150, 300, 600])
    parser.add_argument("--rules", nargs="+", default=["vader", "longest"])
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    rows = _comparisons(arguments)
    if len(rows) < max(arguments.labels) + arguments.held_out:
        parser.error(f"{len(rows)} comparisons are too few for {max(arguments.labels)} labels beside those held out")
    for rule_name in arguments.rules:
        _print_table(arguments, rows, rule_name)


if __name__ == "__main__":
    main()
