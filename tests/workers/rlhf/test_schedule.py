import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.rlhf.schedule import (
    cosine_decay,
    episodes_allowed,
    labels_required,
    linear_decay,
    reward_training_points,
)


@st.composite
def plans(draw: st.DrawFn) -> dict[str, int]:
    initial = draw(st.integers(0, 500))
    return {
        "initial": initial,
        "total": initial + draw(st.integers(0, 70_000)),
        "total_episodes": draw(st.integers(1, 2_000_000)),
    }


@st.composite
def small_plans(draw: st.DrawFn) -> dict[str, int]:
    initial = draw(st.integers(0, 20))
    return {
        "initial": initial,
        "total": initial + draw(st.integers(0, 60)),
        "total_episodes": draw(st.integers(1, 120)),
    }


def test_labels_by_hand() -> None:
    plan = {"initial": 64, "total": 600, "total_episodes": 4000}
    # Half-way three quarters of the later labels are due: 64 + 536 * 3/4 = 466.
    assert [labels_required(n, **plan) for n in (0, 2000, 4000, 5000)] == [64, 466, 600, 600]
    assert labels_required(1, **plan) == 65  # 64.27 labels are 65
    # 120 labels: 1 - (1 - n/4000)^2 <= 56/536, so n <= 4000 (1 - sqrt(480/536)) = 214.7
    assert episodes_allowed(120, **plan) == 214


@given(plan=plans(), data=st.data())
def test_labels_required_is_the_formula_rounded_up(plan: dict[str, int], data: st.DataObject) -> None:
    n = data.draw(st.integers(0, plan["total_episodes"]))
    share = 1 - (1 - Fraction(n, plan["total_episodes"])) ** 2
    assert labels_required(n, **plan) == ceil(plan["initial"] + (plan["total"] - plan["initial"]) * share)


@given(plan=small_plans(), labels=st.integers(-5, 100))
def test_episodes_allowed_is_what_a_search_finds(plan: dict[str, int], labels: int) -> None:
    allowed = [n for n in range(plan["total_episodes"] + 1) if labels_required(n, **plan) <= labels]
    assert episodes_allowed(labels, **plan) == max(allowed, default=-1)


@given(plan=plans(), data=st.data())
def test_the_two_are_exact_inverses_at_full_size(plan: dict[str, int], data: st.DataObject) -> None:
    labels = data.draw(st.integers(plan["initial"], plan["total"]))
    n = episodes_allowed(labels, **plan)
    assert labels_required(n, **plan) <= labels
    if n < plan["total_episodes"]:
        assert labels_required(n + 1, **plan) > labels


@given(plan=plans(), trainings=st.integers(2, 30))
def test_training_points_are_evenly_spaced_in_labels(plan: dict[str, int], trainings: int) -> None:
    initial, total = plan["initial"], plan["total"]
    if total - initial < trainings - 1:
        with pytest.raises(ValueError, match="do not fit"):
            reward_training_points(initial, total, trainings)
        return
    points = reward_training_points(initial, total, trainings)
    gaps = {after - before for before, after in pairwise(points)}
    assert (len(points), points[0], points[-1]) == (trainings, initial, total)
    assert max(gaps) - min(gaps) <= 1
    assert min(gaps) >= 1


def test_training_points_by_hand() -> None:
    assert reward_training_points(64, 600, 10) == (64, 124, 184, 243, 303, 362, 422, 481, 541, 600)
    assert reward_training_points(5000, 5000, 1) == (5000,)
    with pytest.raises(ValueError, match="0 reward trainings"):
        reward_training_points(0, 10, 0)


def test_the_learning_rate_falls_in_a_line() -> None:
    assert [linear_decay(8.0, update, 4) for update in range(5)] == [8.0, 6.0, 4.0, 2.0, 0.0]
    for update in (-1, 5):
        with pytest.raises(ValueError, match="must lie"):
            linear_decay(8.0, update, 4)


def test_the_learning_rate_falls_along_a_cosine() -> None:
    expected = [8.0, 4 + 4 * 0.5**0.5, 4.0, 4 - 4 * 0.5**0.5, 0.0]
    assert [cosine_decay(8.0, step, 4) for step in range(5)] == pytest.approx(expected)
    for step in (-1, 5):
        with pytest.raises(ValueError, match="must lie"):
            cosine_decay(8.0, step, 4)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"initial": 10, "total": 9, "total_episodes": 5}, "initial labels 10"),
        ({"initial": -1, "total": 9, "total_episodes": 5}, "initial labels -1"),
        ({"initial": 1, "total": 9, "total_episodes": 0}, "total_episodes 0"),
    ],
)
def test_an_impossible_plan_is_refused(plan: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        labels_required(0, **plan)
    with pytest.raises(ValueError, match=message):
        episodes_allowed(0, **plan)


def test_a_negative_episode_is_refused() -> None:
    with pytest.raises(ValueError, match="episode -1"):
        labels_required(-1, initial=0, total=1, total_episodes=1)


def test_the_schedule_needs_no_torch() -> None:
    code = "import sys, workers.rlhf.schedule; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
