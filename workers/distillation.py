"""Texts of a best-of-N policy, written to a file to be learned: so the policy becomes a model with log-probs."""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.hparams import TaskHParams
from app.kinds import Split
from app.rules import Score
from app.texts import digest_of, split_of
from workers.best_of_n import BestOfN
from workers.nets.precision import autocast
from workers.ppo_trainer import Scorer
from workers.references import Reference
from workers.rlhf.best_of_n import best_of_n_kl
from workers.rlhf.schedule import SEED_STRIDE
from workers.sampler import Decoder, Sampler, sample_once
from workers.supervised_data import Row

NAME = "best_of_n.jsonl"
CHUNK = 16
"""Prompts answered between two writings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextScorer:
    """A score of texts in the place of a reward model; the prompt it sees is the query as the policy reads it."""

    score: Score
    decoder: Decoder

    def __call__(self, queries: Tensor, query_mask: Tensor, responses: Tensor, mask: Tensor) -> Tensor:
        """(b, q) ids and mask, (b, r) truncated ids and mask -> (b,) float scores."""
        prompts, texts = self._texts(queries, query_mask), self._texts(responses, mask)
        scores = [float(self.score(*pair)) for pair in zip(prompts, texts, strict=True)]
        return torch.tensor(scores, device=responses.device)

    def _texts(self, ids: Tensor, mask: Tensor) -> list[str]:
        rows = (row[real].tolist() for row, real in zip(ids, mask, strict=True))
        return [self.decoder.decode(row, skip_special_tokens=True, clean_up_tokenization_spaces=False) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOfTexts:
    """The best of N samples of each prompt."""

    reference: Reference
    scorer: Scorer
    judge: str
    """Names the scorer."""
    n: int
    prompts: tuple[str, ...]
    task: TaskHParams
    seed: int
    bf16: bool

    @property
    def kl_bound(self) -> float:
        """Nats per response at most between the best-of-N policy and the reference."""
        return best_of_n_kl(self.n)

    @property
    def setup(self) -> dict[str, Any]:
        """As JSON, what the texts depend on beside model, task and seed."""
        return {"best_of": self.n, "judge": self.judge, "prompts": [digest_of(prompt) for prompt in self.prompts]}

    def write(self, folder: Path, written: Callable[[int, int], None]) -> list[Row]:
        """Write to a file in `folder`, or go on where it ends; rows of the samples that ended in time."""
        path = folder / NAME
        done = _whole_chunks(path)
        with path.open("ab") as file:
            for start in range(done, len(self.prompts), CHUNK):
                prompts = self.prompts[start : start + CHUNK]
                lines = (
                    json.dumps({"prompt": prompt, "reference": text}) + "\n"
                    for prompt, text in zip(prompts, self._best(prompts, start), strict=True)
                )
                file.write("".join(lines).encode())
                file.flush()
                os.fsync(file.fileno())
                written(start + len(prompts), len(self.prompts))
        return _rows(path)

    def _best(self, prompts: tuple[str, ...], start: int) -> list[str | None]:
        """One text per prompt; None where none of the N ended in time or all that did say nothing."""
        ends = self.reference.terminators(self.task)
        best = BestOfN(writer=self.reference.policy, scorer=self.scorer, n=self.n, task=self.task, terminators=ends)
        sampler = Sampler(
            writer=best, decoder=self.reference.tokenizer, task=self.task, terminators=ends, watch=self.reference.watch
        )
        queries, mask = self.reference.encode(prompts, self.task)
        with autocast(queries.device, self.bf16):
            drawn = sample_once(sampler, queries, mask, seed=self.seed * SEED_STRIDE + start)
        return [one.text if one.valid and one.text.strip() else None for (one,) in drawn]


def prompts_to_learn(texts: Iterable[str]) -> tuple[str, ...]:
    """Different prompts without those of the test split, which nothing may be trained on."""
    different = {digest_of(text): text for text in texts}
    return tuple(text for digest, text in different.items() if split_of(digest) is not Split.TEST)


def _whole_chunks(path: Path) -> int:
    """Prompts answered so far; what a kill left of a chunk is taken off the file."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    whole = sum(line.endswith(b"\n") for line in lines) // CHUNK * CHUNK
    if whole != len(lines):
        os.truncate(path, sum(map(len, lines[:whole])))
    return whole


def _rows(path: Path) -> list[Row]:
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line)
    return [
        Row(where=f"{path}, line {number}", prompt=line["prompt"], text=line["reference"])
        for number, line in enumerate(lines, start=1)
        if line["reference"] is not None
    ]
