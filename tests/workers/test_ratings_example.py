"""The example that fits reward models to ratings and to differences, run as it stands."""

import json
import random
from pathlib import Path

import pytest

from app.hparams import preset
from examples.ratings import train
from tests.tiny import WORDS, save_tiny_model

PROMPTS = [f"{one} was {other}" for one in WORDS[:6] for other in WORDS[5:16]]


def rows(kind: str) -> list[dict[str, object]]:
    """Three about each prompt; what counts is how often a text says `happy`."""
    rng = random.Random(1)
    made: list[dict[str, object]] = []
    for prompt in PROMPTS * 3:
        first, second = (" ".join(rng.choices(["happy", "sad", "rain", "door"], k=6)) for _ in range(2))
        if kind == "rating":
            made.append({"prompt": prompt, "text": first, "rating": 10 + 2 * first.count("happy")})
        else:
            apart = second.count("happy") - first.count("happy")
            made.append({"prompt": prompt, "texts": [first, second], "difference": apart})
    return made


@pytest.mark.parametrize("kind", ["rating", "difference"])
def test_ratings_and_differences_become_reward_models(tmp_path: Path, kind: str) -> None:
    rated = tmp_path / "rated.jsonl"
    rated.write_text("".join(json.dumps(row) + "\n" for row in rows(kind)))
    report = train(rated, save_tiny_model(tmp_path / "tiny"), tmp_path / "out", preset("sentiment-small"))
    assert report["kind"] == kind
    assert report["labels"] < len(PROMPTS) * 3
    assert report["pearson_heldout"] > 0.6
    assert report["pearson_valid"] > 0.3
    assert {"config.json", "reward_head.json", "reward_head.safetensors", "score.py"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }
