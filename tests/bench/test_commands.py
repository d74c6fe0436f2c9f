"""The benchmarks that the docs name run from the command line, in small."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import save_tiny_model

SMALL = {
    "adams": ["--model", "TINY", "--batch", "8"],
    "data": ["--prompts", "200", "--labels", "200"],
    "load": ["saturation", "--comparisons", "2000", "--seconds", "2", "--labelers", "4"],
    "scale": ["--comparisons", "21000", "--labels", "500"],
    "processes": [
        "--model",
        "tiny",
        "--batch",
        "8",
        "--query",
        "8",
        "--response",
        "4",
        "--epochs",
        "1",
        "--steps",
        "1",
    ],
    "sampling": [
        "--model",
        "TINY",
        "--prompts",
        "2",
        "--samples",
        "2",
        "--query",
        "8",
        "--pairs",
        "1",
        "--lanes",
        "fp32",
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_it_runs_in_small(name: str, tmp_path: Path) -> None:
    model = str(save_tiny_model(tmp_path / "tiny"))
    words = [model if word == "TINY" else word for word in SMALL[name]]
    done = subprocess.run([sys.executable, "-m", "bench", name, *words], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()
