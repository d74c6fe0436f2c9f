"""A small training program that can be killed anywhere: PPO over a workshop, its state named in a file.

    python -m tests.workers.resumable HOME MODEL UPDATES [HANG_AT]

Appends one line of statistics per update to HOME/stats.jsonl and ends after UPDATES of them. With HANG_AT it says so
and waits for its end in the middle of that update (counted from 0): after the third of its optimizer steps.
"""

import json
import sys
import time
from pathlib import Path
from uuid import UUID

import torch
from torch import Tensor

from app.hparams import RunHParams, preset
from workers.models import weights_digest
from workers.plans import PolicyFiles, PPOPlan, RewardFiles
from workers.ppo_trainer import PPOTrainer
from workers.workshop import Workshop

HANGING = "hanging in the middle of an update"
NOBODY = UUID(int=0)
TEXTS = ("the sun was", "she was happy and", "he", "a door to home")


def hparams() -> RunHParams:
    """All that has a state is on: a value network, an adaptive coefficient, minibatches."""
    small = preset("sentiment-small")
    changes = {
        "batch": 16,
        "minibatches": 2,
        "micro_batch": 4,
        "episodes": 160,
        "learning_rate": 1e-2,
        "value_network": "separate",
        "kl_target": 0.5,
        "kl_damping": 0.5,
    }
    return small.model_copy(update={"ppo": small.ppo.model_copy(update=changes)})


def plan(model: Path, state: str | None) -> PPOPlan:
    """Go on from a state."""
    files = PolicyFiles(
        checkpoint_id=NOBODY, base_model=str(model), reference_digest=weights_digest(model), digest=None
    )
    return PPOPlan(
        reference=files,
        state_digest=state,
        reward=RewardFiles(checkpoint_id=NOBODY, digest="none"),
        hparams=hparams(),
        queries=TEXTS,
        update=0,
        updates=4,
        published_episodes=0,
        reward_episodes=0,
    )


def length(queries: Tensor, query_mask: Tensor, responses: Tensor, mask: Tensor) -> Tensor:
    """Scores a response by its length."""
    assert queries.shape == query_mask.shape
    assert responses.shape == mask.shape
    return mask.float().sum(dim=1)


def hang_in(trainer: PPOTrainer) -> None:
    """Wait for a kill at the third optimizer step from now on."""
    steps = iter(range(1, 100))

    def wait(*_: object) -> None:
        if next(steps) == 3:
            print(HANGING, flush=True)
            time.sleep(600)

    trainer.learner.optimizer.register_step_post_hook(wait)


def main(home: Path, model: Path, updates: int, hang_at: int | None) -> None:
    """Train until so many updates are done, saving after each."""
    torch.set_num_threads(1)
    workshop, note = Workshop(home), home / "state"
    while True:
        state = note.read_text() if note.exists() else None
        asked = plan(model, state)
        trainer = workshop.trainer(asked)
        if trainer.progress.update >= updates:
            return
        if trainer.progress.update == hang_at:
            hang_in(trainer)
        queries = workshop.reference(asked.reference).queries(TEXTS * 4, asked.hparams.task, "formatted")
        stats = trainer.update(queries, length)
        digest = workshop.save_state(trainer)
        with (home / "stats.jsonl").open("a") as lines:
            lines.write(json.dumps(stats) + "\n")
        note.write_text(digest)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else None)
