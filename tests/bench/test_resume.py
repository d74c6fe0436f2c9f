"""The comparison of a killed run with an unbroken one: it kills, it compares, and it sees what differs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.resume import NO_DIFFERENCE, compare, main, moments
from tests.tiny import save_tiny_model

ROOT = Path(__file__).parents[2]


def line(state: str = "a", stats: dict[str, float] | None = None) -> dict[str, Any]:
    return {"state": state, "stats": {"objective/kl": 0.5} | (stats or {}), "seconds": 1.0}


def test_a_killed_run_of_a_tiny_model_is_the_unbroken_one(tmp_path: Path) -> None:
    model, home = save_tiny_model(tmp_path / "tiny"), tmp_path / "home"
    words = [f"--model={model}", f"--home={home}", "--updates=6", "--kills=2", "--batch=32", "--threads=1"]
    command = [sys.executable, "-m", "bench", "resume", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    *table, last = done.stdout.splitlines()
    facts = json.loads(last)
    assert facts["equal"]
    assert len(facts["kills"]) == 2
    assert len(table) == 8
    assert all(row.endswith(f"| {NO_DIFFERENCE} |") for row in table[2:])
    lines = [json.loads(text) for text in (home / "killed" / "updates.jsonl").read_text().splitlines()]
    assert len({one["state"] for one in lines}) == 6
    assert len({one["stats"]["objective/kl_coef"] for one in lines}) == 6
    with pytest.raises(SystemExit, match="holds an earlier comparison"):
        main(words)


def test_whatever_differs_is_named() -> None:
    assert compare([line()], [line()]) == [NO_DIFFERENCE]
    assert compare([line("a")], [line("b")]) == ["state"]
    assert compare([line()], [line(stats={"objective/kl": 0.5000001})]) == ["objective/kl"]
    assert compare([line()], [line(stats={"ppo/entropy": 1.0})]) == ["ppo/entropy"]
    assert compare([line(), line()], [line()]) == [NO_DIFFERENCE, "missing"]


def test_time_is_no_difference() -> None:
    slow = line(stats={"time/update_seconds": 9.0}) | {"seconds": 9.0}
    assert compare([line(stats={"time/update_seconds": 1.0})], [slow]) == [NO_DIFFERENCE]


def test_kills_hit_different_updates_between_begin_and_end_and_spare_the_last() -> None:
    for seed in range(50):
        found = moments(5, 3, update_seconds=2.0, seed=seed)
        updates = [kill.update for kill in found]
        assert updates == sorted(set(updates))
        assert set(updates) <= {0, 1, 2, 3}
        assert all(0 < kill.seconds < 2 for kill in found)
    assert moments(5, 3, 2.0, seed=1) != moments(5, 3, 2.0, seed=2)
