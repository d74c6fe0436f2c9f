"""The arithmetic of the PPO benchmark: operations by hand, medians and ratios, and one run of our own program."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench._shapes import REWARDS, SHAPES, VOCABULARY, Shape, episode_operations
from bench.ppo import AS_IT_COMES, profiles, summary, table

ROOT = Path(__file__).parents[2]
UNIT = Shape(layers=3, width=10, heads=1)


def test_a_block_multiplies_twelve_squares_and_attends() -> None:
    # 12 width^2 weights, a multiplication and an addition each; scores and mixing, 2 t^2 width each way.
    assert UNIT.block(7) == 2 * 1200 * 7 + 2 * (2 * 7 * 7 * 10)
    assert UNIT.head(2) == 2 * VOCABULARY * 10 * 2


def test_an_episode_is_sampling_reference_reward_and_three_passes_per_epoch() -> None:
    block, head = UNIT.block(9), UNIT.head(4)
    whole = episode_operations(UNIT, 5, 4, 2)
    assert whole == pytest.approx((3 * block + head) + (3 * block + head) + 3 * block + 2 * (9 * block + 3 * head))
    separate = episode_operations(UNIT, 5, 4, 2, separate=True)
    assert separate - whole == pytest.approx(3 * block * (1 + 6))
    top = episode_operations(UNIT, 5, 4, 2, frozen=2)
    assert top == pytest.approx((3 * block + head) + (block + head) + 3 * block + 2 * (3 * block + 2 * head))
    assert whole - episode_operations(UNIT, 5, 4, 2, head=True) == pytest.approx(3 * block)


def test_gpt2_small_costs_what_is_published_of_it() -> None:
    """About 253 GFLOP per episode of 64 + 24 tokens and four epochs."""
    assert episode_operations(SHAPES["124m"], 64, 24, 4) == pytest.approx(253e9, rel=0.03)


def run(rate: float) -> dict[str, object]:
    seconds = {"step": 8 / rate, "generate": 1.0, "score": 2.0, "update": 3.0, "cpu": 1 / rate}
    return {"episodes_per_second": rate, "seconds": seconds, "peak_mib": 10 * rate} | {
        "of_ceiling": 0.5,
        "ceiling_gflops": 100.0,
    }


def test_ratios_are_of_neighbours() -> None:
    row = summary("fp32", "shared", [run(4.0), run(1.0), run(9.0)], [run(2.0), run(1.0), run(3.0)])
    assert row["times_trl"] == row["times_trl_cpu"] == 2.0
    assert row["episodes_per_second"] == {"median": 4.0, "range": [1.0, 9.0]}
    assert row["peak_mib"] == 90.0
    assert "4.000 (1.000 to 9.000) | 2.00 (2.00) | 1.0 / 2.0 / 3.0 | 50% of 100 GFLOP/s | 90 |" in table([row])


def test_a_peer_as_it_comes_is_held_against_ours_too() -> None:
    peers, usual = [run(2.0), run(1.0)], [run(0.5), run(0.25)]
    row = summary("bf16", "shared", [run(4.0), run(3.0)], peers, usual)
    assert (row["times_trl"], row["times_as_it_comes"]) == (2.5, 10.0)
    assert "2.50 (2.50) and 10.00 as it comes" in table([row])
    own = summary("bf16", AS_IT_COMES, usual, peers, usual)
    assert not {"times_trl", "times_as_it_comes", "of_ceiling"} & own.keys()


@pytest.mark.parametrize("reward", REWARDS)
def test_our_side_runs_and_counts(reward: str) -> None:
    numbers = {"query": 6, "response": 4, "batch": 8, "epochs": 1, "steps": 1, "warmup": 0, "threads": 1}
    shape = {"layers": 6, "width": 16, "heads": 2}
    words = [word for name, number in (shape | numbers).items() for word in (f"--{name}", str(number))]
    command = [sys.executable, "-m", "bench._ppo_ours", *words, "--lane", "fp32", "--frozen", "1", "--profile", "3"]
    command += ["--reward", reward]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["episodes_per_second"] == pytest.approx(8 / found["seconds"]["step"])
    assert sum(found["seconds"][name] for name in ("generate", "score", "update")) == pytest.approx(
        found["seconds"]["step"], rel=1e-3
    )
    assert 0 < found["of_ceiling"] < 1
    shares = [share for _, share in found["profile"]]
    assert len(shares) == 3
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 1
    rows: list[dict[str, Any]] = [
        {"lane": "fp32", "side": "trl"},
        {"lane": "fp32", "side": "top", "profile": [("aten::mm", 0.5)]},
    ]
    assert profiles(rows) == "fp32 top: aten::mm 50.0%"
