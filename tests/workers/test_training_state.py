"""A run that was killed is, bit for bit, the run that was not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import save_tiny_model
from tests.workers import resumable
from workers import training_state
from workers.checkpoints import CheckpointStore
from workers.workshop import Workshop

ROOT = Path(__file__).parents[2]


def start(home: Path, model: Path, *words: object) -> subprocess.Popen[str]:
    """The program, its output to be read."""
    home.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.workers.resumable", str(home), str(model), *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(home: Path, model: Path, updates: int) -> None:
    """Run it to its end."""
    program = start(home, model, updates)
    said, _ = program.communicate(timeout=300)
    assert program.returncode == 0, said


def run_and_kill(home: Path, model: Path, updates: int, *, at: int) -> None:
    """Kill it, without a word, in the middle of an update."""
    program = start(home, model, updates, at)
    assert program.stdout is not None
    said = ""
    for line in program.stdout:
        said += line
        if resumable.HANGING in line:
            break
    program.kill()
    program.communicate()
    assert resumable.HANGING in said, said


def stats(home: Path) -> list[dict[str, float]]:
    """What the program wrote of each update."""
    return [json.loads(line) for line in (home / "stats.jsonl").read_text().splitlines()]


def test_four_updates_are_two_a_kill_in_the_third_and_two_more(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "tiny")
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    run(straight, model, 4)
    run_and_kill(broken, model, 4, at=2)
    assert len(stats(broken)) == 2
    run(broken, model, 4)
    assert stats(broken) == stats(straight)
    # A digest is that of all tensors and numbers: policy, value network, optimizer, coefficient, updates, probe.
    assert (broken / "state").read_text() == (straight / "state").read_text()
    coefs = [one["objective/kl_coef"] for one in stats(straight)]
    assert len(set(coefs)) == 4
    loaded = CheckpointStore(straight / "checkpoints").load((straight / "state").read_text())
    assert set(loaded.tensors) == {"policy", "value", "optimizer", "probe"}
    assert loaded.meta["update"] == 4


def test_a_state_without_the_network_it_should_have_is_refused(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "tiny")
    trainer = Workshop(tmp_path / "home").trainer(resumable.plan(model, None))
    files, meta = training_state.pack(trainer)
    del files["value"]
    with pytest.raises(KeyError, match="value"):
        training_state.unpack(trainer, files, meta)
