"""An experiment of seconds on a tiny random model."""

import hashlib
from pathlib import Path
from typing import Any

from app.hparams import RunHParams, planned
from tests.tiny import save_tiny_model
from workers.offline.experiment import Told
from workers.offline.start import Setup, train

WORDS = ("the sun", "she was", "he and", "a door", "it was happy", "rain in", "the home", "sad and")
PROMPTS = tuple(f"{one} {joint} {other}" for one in WORDS for joint in ("and", "of", "to", "in") for other in WORDS)
JUDGE = "tests.workers.offline.small:happiness"


def happiness(_: str, text: str) -> float:
    """A known reward with few ties: a share that depends on the whole text."""
    return text.count("happy") + hashlib.sha256(text.encode()).digest()[0] / 1000


def happy_words(_: str, text: str) -> float:
    """A known reward that most samples share."""
    return float(text.count("happy"))


CHANGES: dict[str, dict[str, Any]] = {
    "task": {"query_tokens": 8, "response_tokens": 6, "min_terminator_index": 1, "temperature": 1.0},
    "reward": {"normalization_samples": 32},
    "ppo": {
        "episodes": 96,
        "batch": 16,
        "micro_batch": 16,
        "learning_rate": 1e-3,
        "kl_horizon": 160,
        "guards": {"invalid_fraction": 1.0},
    },
    "schedule": {
        "initial_labels": 24,
        "total_labels": 40,
        "reward_trainings": 2,
        "outstanding": 8,
        "promote_episodes": 32,
    },
}
"""Six updates, two reward models, three policies."""


def small_hparams(**schedule: int | str) -> RunHParams:
    """The small preset, smaller still."""
    return planned("sentiment-small", CHANGES | {"schedule": CHANGES["schedule"] | schedule})


def small_setup(folder: Path, hparams: RunHParams | None = None, *, noise: float = 0.0) -> Setup:
    """An experiment on a tiny model that is written to `folder`."""
    model = save_tiny_model(folder)
    return Setup(hparams=hparams or small_hparams(), base_model=str(model), labeler=JUDGE, noise=noise, prompts=PROMPTS)


def run_small(folder: Path, setup: Setup | None, *, told: Told | None = None) -> list[Path]:
    """Run it, or go on with it."""
    return train(folder, setup, models=folder, samples=24, told=told or Told(), threads=1)
