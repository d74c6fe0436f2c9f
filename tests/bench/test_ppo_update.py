"""The benchmark of whole updates runs in small."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import save_tiny_model

ROOT = Path(__file__).parents[2]


def test_updates_are_timed(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "tiny", layers=6)
    words = ["--model", str(folder), "--updates", "2", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "ppo_update", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["spread"]) == 2
    assert found["episodes_per_second"] == pytest.approx(32 / (sum(found["spread"]) / 2))
