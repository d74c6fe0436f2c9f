"""Labeled comparisons for benchmarks: read from files, or written by a model and labeled by a rule."""

import hashlib
import json
import os
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from app.errors import InvalidError
from app.hparams import RunHParams
from app.kinds import Verdict
from app.rules import TIE, Rule
from app.texts import digest_of
from workers.nets.precision import autocast
from workers.nets.tokenizer import token_ids
from workers.references import Reference
from workers.reward_labels import EncodedLabel, EncodedSample
from workers.rlhf.labels import even, picked
from workers.sampler import Sampler, sample_comparisons, sample_once

PROMPTS_AT_ONCE = 8
EMPTY_BATCHES = 20
"""Batches in a row without one label after which a rule or a task does not suit the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """A model that writes samples for a task."""

    reference: Reference
    hparams: RunHParams
    bf16: bool

    def encode(self, prompt: str, responses: Sequence[Sequence[int]], target: Sequence[float]) -> EncodedLabel:
        """A label as the reward model reads it."""
        formatted = self.hparams.reward.query == "formatted"
        ids, mask = self.reference.encode([prompt], self.hparams.task, formatted=formatted)
        query = tuple(ids[0][mask[0]].tolist())
        return EncodedLabel(
            prompt=digest_of(prompt), query=query, responses=tuple(map(tuple, responses)), target=tuple(target)
        )

    def name_of(self, prompts: Sequence[str]) -> str:
        """Digest of all that decides what is written after these prompts."""
        return _short([self.reference.digest, self.hparams.task.model_dump_json(), self.bf16, list(prompts)])

    @property
    def sampler(self) -> Sampler:
        """Writes with the reference."""
        task = self.hparams.task
        return Sampler(
            writer=self.reference.policy,
            decoder=self.reference.tokenizer,
            task=task,
            terminators=self.reference.terminators(task),
            watch=self.reference.watch,
        )


class Source(Protocol):
    """Where labels come from."""

    @property
    def name(self) -> str:
        """As in results; what has the same name gives the same labels."""
        ...

    def labels(self, wanted: int) -> list[EncodedLabel]:
        """The first `wanted` labels, always the same ones, or all where there are fewer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Comparisons that people labeled: a file, or a folder of files, in the export's form `best_of_4`."""

    path: Path
    writer: Writer
    seed: int
    """Shuffles the lines: exports go by time, and later samples are of other policies."""

    @property
    def name(self) -> str:
        """Digest of what the files hold."""
        return "labels-" + _short([text for _, text in self._lines()])

    def labels(self, wanted: int) -> list[EncodedLabel]:
        """In random order."""
        lines = list(self._lines())
        random.Random(self.seed).shuffle(lines)
        return [self._label(where, line) for where, line in lines[:wanted]]

    def _lines(self) -> Iterator[tuple[str, str]]:
        paths = sorted(self.path.glob("*.jsonl")) if self.path.is_dir() else [self.path]
        if not paths:
            raise InvalidError(f"{self.path} holds no .jsonl file: export labels in the form best_of_4 into it.")
        for path in paths:
            for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
                if line.strip():
                    yield f"{path}, line {number}", line

    def _label(self, where: str, line: str) -> EncodedLabel:
        try:
            row = json.loads(line)
            texts = [str(text) for text in row["samples"]]
            target = picked(int(row["best"]), len(texts))
            responses = [token_ids(self.writer.reference.tokenizer, text) for text in texts]
            if not all(responses):
                raise ValueError("a sample is empty")
            return self.writer.encode(str(row["prompt"]), responses, target)
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidError(f"{where}: expected prompt, samples and best, but {error!r}.") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """Samples that the model writes, labeled by a rule; each batch is kept, so that a killed run goes on."""

    writer: Writer
    prompts: Sequence[str]
    rule_name: str
    rule: Rule
    folder: Path

    @property
    def name(self) -> str:
        """The rule, with a digest of what else decides the labels."""
        used = list(map(str, self.writer.hparams.reward.used_verdicts))
        return f"{self.rule_name}-{_short([self._written_name, used])}"

    def labels(self, wanted: int) -> list[EncodedLabel]:
        """In the order of the prompts, over and over.

        Raises: InvalidError when batch after batch leads to no label.
        """
        found: list[EncodedLabel] = []
        empty = 0
        for number in count():
            fresh = [label for row in self._batch(number) if (label := self._label(row)) is not None]
            found += fresh
            empty = 0 if fresh else empty + 1
            if len(found) >= wanted:
                return found[:wanted]
            if empty == EMPTY_BATCHES:
                raise InvalidError(f"The model wrote nothing that {self.rule_name} tells apart: choose another rule.")
            if fresh:
                print(f"{len(found)} of {wanted} labels", file=sys.stderr, flush=True)
        raise AssertionError("batches never end")

    def _batch(self, number: int) -> list[dict[str, Any]]:
        path = self.folder / f"{self._written_name}-{number:06}.json"
        if not path.exists():
            write_whole(path, json.dumps(self._written(number)))
        rows: list[dict[str, Any]] = json.loads(path.read_text())
        return rows

    @property
    def _written_name(self) -> str:
        """Rules share samples."""
        return "samples-" + self.writer.name_of(self.prompts)

    def _written(self, number: int) -> list[dict[str, Any]]:
        start = number * PROMPTS_AT_ONCE
        texts = [self.prompts[(start + i) % len(self.prompts)] for i in range(PROMPTS_AT_ONCE)]
        queries, mask = self.writer.reference.encode(texts, self.writer.hparams.task)
        with autocast(queries.device, self.writer.bf16):
            sampled = sample_comparisons(self.writer.sampler, queries, mask, seed=number)
        return [
            {
                "prompt": texts[one.prompt],
                "samples": [draw.text for draw in one.draws],
                "responses": [draw.tokens[: draw.kept_tokens] for draw in one.draws],
            }
            for one in sampled
        ]

    def _label(self, row: dict[str, Any]) -> EncodedLabel | None:
        best, k = self.rule(row["prompt"], row["samples"]), len(row["samples"])
        if best == TIE:
            ties_train = Verdict.TIE in self.writer.hparams.reward.used_verdicts
            return self.writer.encode(row["prompt"], row["responses"], even(k)) if ties_train else None
        return self.writer.encode(row["prompt"], row["responses"], picked(int(best), k))


def normalization_samples(writer: Writer, prompts: Sequence[str], folder: Path) -> list[EncodedSample]:
    """Samples of the reference, neither cut nor filtered, as many as the reward model's scale is set on; kept."""
    task, wanted = writer.hparams.task, writer.hparams.reward.normalization_samples
    texts = [prompts[i % len(prompts)] for i in range(wanted)]
    path = folder / f"normalization-{writer.name_of(texts)}.json"
    if not path.exists():
        queries, mask = writer.reference.encode(texts, task)
        with autocast(queries.device, writer.bf16):
            written = sample_once(writer.sampler, queries, mask, seed=0)
        write_whole(path, json.dumps([draws[0].tokens for draws in written]))
    responses = json.loads(path.read_text())
    return [writer.encode(text, [ids], (1.0,)).samples[0] for text, ids in zip(texts, responses, strict=True)]


def write_whole(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    with beside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)


def _short(meaning: object) -> str:
    return hashlib.sha256(json.dumps(meaning).encode()).hexdigest()[:12]
