"""Two processes on half a batch each make the update that one makes on all of it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.tiny import save_tiny_model
from tests.workers.together import PPO_CASES, REWARD_CASES, Ended, ppo, reward
from workers.ranks import ALONE, Ranks

ROOT = Path(__file__).parents[2]
PROCESSES = 2


def torchrun(module: str, *words: object, processes: int = PROCESSES) -> str:
    """Run a module in several processes to its end; what they said."""
    launcher = ("torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={processes}")
    command = [sys.executable, "-m", *launcher, "-m", module, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of four layers."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny"), layers=4)


@pytest.fixture(scope="module")
def together(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Ended]]:
    """What each of two processes ended with, by case."""
    out = tmp_path_factory.mktemp("out")
    torchrun("tests.workers.together", folder, out)
    ranks = [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(PROCESSES)]
    return [{name: Ended(**one) for name, one in ended.items()} for ended in ranks]


def require_same_training(alone: Ended, first: Ended, second: Ended) -> None:
    """The same to rounding as by one process, and to the bit in both."""
    for found, expected in zip(first.stats, alone.stats, strict=True):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
    for name, value in alone.weights.items():
        torch.testing.assert_close(first.weights[name], value, atol=1e-5, rtol=1e-5, msg=name)
        assert torch.equal(first.weights[name], second.weights[name])
    assert first.stats == second.stats
    assert torch.equal(first.after, second.after)


@pytest.mark.parametrize("name", PPO_CASES)
def test_two_processes_make_the_update_of_one(folder: Path, together: list[dict[str, Ended]], name: str) -> None:
    alone, (first, second) = ppo(folder, name), [one[name] for one in together]
    assert min(alone.moved.values()) > 1e-4
    require_same_training(alone, first, second)
    assert torch.equal(first.after, alone.after)


@pytest.mark.parametrize("name", REWARD_CASES)
def test_two_processes_tune_the_reward_model_of_one(together: list[dict[str, Ended]], name: str) -> None:
    alone, (first, second) = reward(name), [one[name] for one in together]
    still = {name for name, moved in alone.moved.items() if moved == 0}
    assert bool(still) == (name == "a lower layer")
    for one in (alone, first, second):
        del one.weights["bias"]  # a sum of scores that cancel; it stands in the scores all the same
    require_same_training(alone, first, second)
    torch.testing.assert_close(first.after, alone.after, atol=1e-5, rtol=0)


def test_rows_are_shared_evenly_or_not_at_all() -> None:
    assert [Ranks(rank=rank, size=3).rows(6) for rank in range(3)] == [slice(0, 2), slice(2, 4), slice(4, 6)]
    assert ALONE.rows(5) == slice(0, 5)
    with pytest.raises(ValueError, match="8 rows cannot be shared evenly by 3 processes"):
        Ranks(rank=0, size=3).rows(8)
