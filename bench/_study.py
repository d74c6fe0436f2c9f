"""Trainings of reward heads on the same labels: each done once, kept as a line, and put together as a table."""

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import InvalidError
from app.hparams import RunHParams
from bench._heads import with_heads
from workers.reward_features import FeatureCache
from workers.reward_labels import EncodedLabel, EncodedSample, RewardData
from workers.reward_members import Trunk, reads_of
from workers.reward_trainer import fit
from workers.rlhf.intervals import wilson

FEATURES_AT_ONCE = 256

Result = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One training."""

    head: str
    labels: int
    fold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """All trainings on the same labels."""

    source: str
    """Names the labels."""
    labels: Sequence[EncodedLabel]
    """In an order that says nothing of them."""
    held_out: int
    """Labels of a fold; what shares a prompt with one of them teaches nothing."""
    normalization: Sequence[EncodedSample]
    trunk: Trunk
    hparams: RunHParams
    seed: int
    cache: FeatureCache
    bf16: bool
    results: Path
    """One line of JSON per training done."""

    def run(self, cells: Sequence[Cell]) -> list[Result]:
        """A result for each cell, in order; what was done before is not done again."""
        known = {one["identity"]: one for one in self._known()}
        done = []
        for number, cell in enumerate(cells, start=1):
            identity = self._identity(cell)
            if identity not in known:
                known[identity] = self._measured(cell) | {"identity": identity}
                self._keep(known[identity])
            one = known[identity]
            share, left = one["right"] / one["n"], len(cells) - number
            print(
                f"{one['head']}, {one['labels']} labels, fold {one['fold']}: {share:.1%}, {left} to go", file=sys.stderr
            )
            done.append(one)
        return done

    def warm(self, heads: Sequence[str]) -> None:
        """Compute all features that frozen heads will ask for in one pass; every chunk is kept."""
        frozen = [head for name in heads for head in with_heads(self.hparams.reward, name).heads if not head.tuned]
        reads = list(dict.fromkeys(read for head in frozen for read in reads_of(head, self.trunk.reference)))
        samples = [*(sample for label in self.labels for sample in label.samples), *self.normalization]
        for start in range(0, len(samples) if reads else 0, FEATURES_AT_ONCE):
            some = samples[start : start + FEATURES_AT_ONCE]
            self.cache.features(self.trunk.reference, self.trunk.digest, some, reads, bf16=self.bf16)
            print(f"features of {start + len(some)} of {len(samples)} samples", file=sys.stderr)

    def _measured(self, cell: Cell) -> Result:
        held_out, rest = split(self.labels, held_out=self.held_out, fold=cell.fold)
        if len(rest) < cell.labels:
            raise InvalidError(f"{len(rest)} labels lie outside fold {cell.fold}: ask for no more than that.")
        data = RewardData(train=rest[: cell.labels], valid=held_out, normalization=self.normalization)
        hparams, started = with_heads(self.hparams.reward, cell.head), time.monotonic()
        fitted = fit(data, self.trunk, hparams=hparams, seed=self.seed + cell.fold, cache=self.cache, bf16=self.bf16)
        calibration, accuracy = fitted.report["calibration_valid"], fitted.report["accuracy_valid"]["value"]
        return {
            "source": self.source,
            "head": cell.head,
            "labels": cell.labels,
            "fold": cell.fold,
            "n": calibration["n"],
            "right": round(accuracy * calibration["n"]),
            "loss": fitted.report["loss_valid"],
            "calibration_error": calibration["error"],
            "seconds": time.monotonic() - started,
            "chosen": fitted.head.model_dump(mode="json"),
        }

    def _identity(self, cell: Cell) -> str:
        """Digest of all that decides the result."""
        reward, task = with_heads(self.hparams.reward, cell.head), self.hparams.task
        scale = [sample.key for sample in self.normalization]
        meaning = (
            self.source,
            self.trunk.digest,
            reward.model_dump_json(),
            task.model_dump_json(),
            cell.labels,
            cell.fold,
            self.held_out,
            self.seed,
            self.bf16,
            scale,
        )
        return hashlib.sha256(repr(meaning).encode()).hexdigest()[:16]

    def _keep(self, result: Result) -> None:
        torn = self.results.exists() and not self.results.read_text().endswith("\n")
        with self.results.open("a") as file:
            file.write("\n" * torn + json.dumps(result) + "\n")

    def _known(self) -> Iterator[Result]:
        lines = self.results.read_text().split("\n") if self.results.exists() else []
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:  # the last line of a run that was killed, or nothing
                continue


def split(labels: Sequence[EncodedLabel], *, held_out: int, fold: int) -> tuple[list[EncodedLabel], list[EncodedLabel]]:
    """The labels of one fold, and all that share no prompt with them, in order; more labels change no fold.

    Folds follow one another, `held_out` labels each or a few more, no prompt in two of them.
    Raises: InvalidError if there are too few.
    """
    by_prompt: dict[str, list[EncodedLabel]] = {}
    for label in labels:
        by_prompt.setdefault(label.prompt, []).append(label)
    prompts = iter(by_prompt)
    for _ in range(fold + 1):
        held: list[EncodedLabel] = []
        while len(held) < held_out:
            prompt = next(prompts, None)
            if prompt is None:
                raise InvalidError(f"{len(labels)} labels are too few for {fold + 1} folds of {held_out}: give fewer.")
            held += by_prompt[prompt]
    unseen = {label.prompt for label in held}
    return held, [label for label in labels if label.prompt not in unseen]


def summary(results: Sequence[Result]) -> list[Result]:
    """The folds of each head and number of labels as one: accuracy with its 95 % interval, mean loss and seconds."""
    cells: dict[tuple[str, int], list[Result]] = {}
    for one in results:
        cells.setdefault((one["head"], one["labels"]), []).append(one)
    return [
        {
            "head": head,
            "labels": labels,
            "folds": len(found),
            "n": (n := sum(one["n"] for one in found)),
            "accuracy": wilson(sum(one["right"] for one in found), n)._asdict(),
            "loss": sum(one["loss"] for one in found) / len(found),
            "calibration_error": sum(one["calibration_error"] for one in found) / len(found),
            "seconds": sum(one["seconds"] for one in found) / len(found),
        }
        for (head, labels), found in cells.items()
    ]


def table(rows: Sequence[Result]) -> str:
    """Markdown: one line per head, one column per number of labels."""
    counts = list(dict.fromkeys(row["labels"] for row in rows))
    cells = {(row["head"], row["labels"]): _cell(row) for row in rows}
    lines = ["| head | " + " | ".join(map(str, counts)) + " |", "|---" * (len(counts) + 1) + "|"]
    heads = dict.fromkeys(row["head"] for row in rows)
    lines += [f"| {head} | " + " | ".join(cells[head, count] for count in counts) + " |" for head in heads]
    return "\n".join(lines)


def _cell(row: Result) -> str:
    share = row["accuracy"]
    interval = f"{share['value']:.0%} ({share['low']:.0%}-{share['high']:.0%})"
    return f"{interval}, {row['loss']:.3f} nats, {row['seconds']:.0f} s"
