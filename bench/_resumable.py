"""The program that `bench.resume` kills: PPO toward a known score, its state saved after every update.

    python -m bench._resumable JSON

JSON holds the fields of `Settings`. Says each stage it enters, and writes one line per update to HOME/updates.jsonl:
the file's last whole line names the state that the next start goes on from.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
import torch
from torch import Tensor

from app.hparams import RunHParams, planned
from app.kinds import Split
from app.rules import Score
from app.texts import bundled_stories, digest_of, split_of
from workers.judges import load_judge
from workers.models import weights_digest
from workers.plans import PolicyFiles, PPOPlan, RewardFiles
from workers.ppo_trainer import PPOTrainer
from workers.query_order import order_seed, query_order
from workers.references import Reference
from workers.rlhf.types import QueryBatch
from workers.workshop import Workshop

LINES = "updates.jsonl"
STAGES = ("sampling", "scoring", "training", "saving")
NOBODY = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What to train, and where."""

    home: str
    """Folder of states and lines."""
    model: str
    """Folder of the base model."""
    updates: int
    batch: int
    judge: str
    seed: int
    threads: int
    """0 leaves the number as PyTorch finds it."""

    @property
    def hparams(self) -> RunHParams:
        """The small preset; a tiny model's samples may all run out of time."""
        ppo = {
            "episodes": self.updates * self.batch,
            "batch": self.batch,
            "micro_batch": min(self.batch, 32),
            "guards": {"invalid_fraction": 1.0},
        }
        return planned("sentiment-small", {"ppo": ppo, "seed": self.seed})


@dataclass(frozen=True, slots=True)
class KnownScore:
    """A judge of texts as PPO sees a reward model."""

    reference: Reference
    judge: Score

    def __call__(self, queries: Tensor, query_mask: Tensor, responses: Tensor, mask: Tensor) -> Tensor:
        """(b, q) ids and mask, (b, r) ids and mask -> (b,) float32."""
        pairs = zip(self._texts(queries, query_mask), self._texts(responses, mask), strict=True)
        return torch.tensor([self.judge(prompt, text) for prompt, text in pairs], device=queries.device)

    def _texts(self, ids: Tensor, mask: Tensor) -> list[str]:
        rows = [row[real].tolist() for row, real in zip(ids, mask, strict=True)]
        texts: list[str] = self.reference.tokenizer.batch_decode(rows)
        return texts


def read_lines(home: Path) -> list[dict[str, Any]]:
    """One object per update that was saved; half a line, left by a kill, is no line."""
    path = home / LINES
    content = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]


def train(settings: Settings) -> None:
    """Go on until all updates are done."""
    home, hparams = Path(settings.home), settings.hparams
    lines = read_lines(home)
    workshop = Workshop(home, threads=settings.threads)
    workshop.precision = replace(workshop.precision, bf16=False)
    prompts = [text for text in bundled_stories() if split_of(digest_of(text)) is Split.TRAIN]
    files = _files(settings.model)
    reference, judge = workshop.reference(files), load_judge(settings.judge)
    while len(lines) < settings.updates:
        plan = _plan(files, hparams, prompts, lines[-1]["state"] if lines else None)
        trainer, began = workshop.trainer(plan), time.monotonic()
        stats = _update(trainer, _queries(reference, plan, len(lines)), KnownScore(reference, judge))
        _say(len(lines), "saving")
        state = workshop.save_state(trainer)
        lines.append({"state": state, "stats": stats, "seconds": time.monotonic() - began})
        _write_lines(home, lines)
        workshop.delete(workshop.store.digests() - {state})


def _update(trainer: PPOTrainer, queries: QueryBatch, scorer: KnownScore) -> dict[str, float]:
    number = trainer.progress.update
    _say(number, "sampling")
    sampled = trainer.sample(queries)
    _say(number, "scoring")
    rollout = trainer.rollout(sampled, trainer.scores(sampled, scorer))
    _say(number, "training")
    return trainer.step(rollout)


def _files(model: str) -> PolicyFiles:
    digest = weights_digest(Path(model))
    return PolicyFiles(checkpoint_id=NOBODY, base_model=model, reference_digest=digest, digest=None)


def _plan(files: PolicyFiles, hparams: RunHParams, prompts: Sequence[str], state: str | None) -> PPOPlan:
    return PPOPlan(
        reference=files,
        state_digest=state,
        reward=RewardFiles(checkpoint_id=NOBODY, digest="none"),
        hparams=hparams,
        queries=tuple(prompts),
        update=0,
        updates=hparams.ppo.updates,
        published_episodes=0,
        reward_episodes=0,
    )


def _queries(reference: Reference, plan: PPOPlan, update: int) -> QueryBatch:
    batch = plan.hparams.ppo.batch
    order = query_order(len(plan.queries), start=update * batch, count=batch, seed=order_seed(plan.hparams))
    return reference.queries([plan.queries[i] for i in order], plan.hparams.task, plan.hparams.reward.query)


def _say(update: int, stage: str) -> None:
    print(json.dumps({"update": update, "stage": stage}), flush=True)


def _write_lines(home: Path, lines: Sequence[dict[str, Any]]) -> None:
    """All lines anew, whole or not at all."""
    written = home / f".{LINES}.tmp"
    with written.open("w") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())
    written.rename(home / LINES)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # standard output is for the stages
    train(Settings(**json.loads(sys.argv[1])))
