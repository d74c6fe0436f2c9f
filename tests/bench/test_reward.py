"""The benchmark of reward training: its labels, its table, and one run of our own program."""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from bench._reward_ours import labels
from bench.reward import table

ROOT = Path(__file__).parents[2]
NUMBERS = {"query": 6, "response": 4, "samples": 4, "batch": 4, "steps": 2, "threads": 1}


def test_the_first_of_its_samples_is_the_best() -> None:
    made = labels(Namespace(**NUMBERS), 3)
    assert [label.target for label in made] == [(1.0, 0.0, 0.0, 0.0)] * 3
    assert len({label.query for label in made}) == 3
    assert {len(response) for label in made for response in label.responses} == {4}


def test_our_side_runs_and_counts() -> None:
    shape = {"layers": 2, "width": 16, "heads": 2}
    words = [word for name, number in (shape | NUMBERS).items() for word in (f"--{name}", str(number))]
    command = [sys.executable, "-m", "bench._reward_ours", *words, "--lane", "fp32"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["labels_per_second"] > 0
    assert found["cpu_per_label"] == pytest.approx(1 / found["labels_per_second"], rel=20)


def test_a_row_says_medians_ranges_and_both_ratios() -> None:
    rates = {"trl": [1.0, 2.0, 4.0], "prefloop": [3.0, 6.0, 9.0]}
    row = {"lane": "fp32", "labels_per_second": rates, "peak_mib": {"trl": 30.4, "prefloop": 10}, "times": 3.0}
    expected = "| fp32 | 2.00 (1.00 to 4.00) | 6.00 (3.00 to 9.00) | 3.00 (2.50) | 30 and 10 |"
    assert table([row | {"times_cpu": 2.5}]).splitlines()[-1] == expected
