"""Whole runs in simulated time, calm and with everything going wrong, held against what each schedule promises."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.errors import InvalidError
from app.hparams import RunHParams, planned, preset
from tests.workers.simulated_run import STAGES, Accident, SimulatedRun, calmly, settle, wildly
from workers.rlhf.schedule import labels_required


def small(kind: str, **schedule: Any) -> RunHParams:
    """Twelve updates and 40 labels."""
    trainings = {"offline": 1}.get(kind, 4)
    asked = {"kind": kind, "initial_labels": 40 if kind == "offline" else 10, "total_labels": 40}
    changes = (
        asked
        | {"reward_trainings": trainings, "outstanding": 8, "promote_episodes": 24, "refresh_episodes": None}
        | schedule
    )
    return planned("sentiment-small", {"ppo": {"episodes": 96, "batch": 8}, "schedule": changes})


KINDS = ("online", "batched", "offline")


def held(run: SimulatedRun) -> None:
    """What holds of every run whenever one looks."""
    hparams = run.hparams
    assert [one.episode for one in run.updates] == [i * hparams.ppo.batch for i in range(len(run.updates))]
    assert len(run.trained) <= hparams.schedule.reward_trainings
    assert run.published == sorted(set(run.published))
    for update in run.updates:
        assert update.reward_model >= 0
        assert run.trained[update.reward_model][1] <= update.episode
    {"online": online_held, "batched": batched_held, "offline": batched_held}[hparams.schedule.kind](run)


def online_held(run: SimulatedRun) -> None:
    """No update began before its labels were in."""
    schedule = run.hparams.schedule
    due = {"initial": schedule.initial_labels, "total": schedule.total_labels}
    for update in run.updates:
        assert update.labels >= labels_required(update.episode, **due, total_episodes=run.hparams.ppo.episodes)


def batched_held(run: SimulatedRun) -> None:
    """Each round has a reward model of its own, frozen, and a batch that the policy of the round before wrote."""
    rounds, updates = run.hparams.schedule.reward_trainings, run.hparams.ppo.updates
    ends = [updates * (k + 1) // rounds for k in range(rounds)]
    for number, update in enumerate(run.updates):
        assert update.reward_model == next(k for k, end in enumerate(ends) if number < end)
    batch = run.hparams.ppo.batch
    assert [episodes for _, episodes in run.trained] == [end * batch for end in [0, *ends]][: len(run.trained)]
    assert set(run.published) <= {0, *(end * batch for end in ends)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_calm_run_does_everything_once(kind: str) -> None:
    run = SimulatedRun(small(kind))
    calmly(run, 200)
    held(run)
    assert (run.finished, run.episodes, run.labels) == (True, 96, 40)
    expected = {"online": [10, 20, 30, 40], "batched": [10, 20, 30, 40], "offline": [40]}
    assert [labels for labels, _ in run.trained] == expected[kind]


def test_online_trains_the_reward_model_twenty_times_at_even_label_counts() -> None:
    hparams = planned(
        "sentiment",
        {"ppo": {"episodes": 1024 * 60}, "schedule": {"initial_labels": 240, "total_labels": 1_000, "outstanding": 50}},
    )
    run = SimulatedRun(hparams)
    calmly(run, 5_000)
    held(run)
    assert [labels for labels, _ in run.trained] == [240 + 40 * i for i in range(20)]


def test_online_keeps_as_many_outstanding_as_it_is_told() -> None:
    run = SimulatedRun(small("online"))
    while not run.finished:
        settle(run)
        due = labels_required(run.episodes, initial=10, total=40, total_episodes=96)
        assert run.labels + len(run.open()) >= min(40, due + 8)
        run.label()


def test_offline_shows_people_samples_of_the_reference_alone() -> None:
    run = SimulatedRun(small("offline"))
    calmly(run, 200)
    assert {one.policy for one in run.written} == {0}


def test_batched_collects_each_batch_from_the_policy_of_the_moment() -> None:
    run = SimulatedRun(small("batched"))
    calmly(run, 200)
    assert [one.policy for one in run.written] == [0] * 10 + [1] * 10 + [2] * 10 + [3] * 10
    assert run.published == [0, 24, 48, 72, 96]


@pytest.mark.parametrize("every", [24, 96])
def test_a_policy_of_each_new_reward_model_is_shown_after_its_first_episodes(every: int) -> None:
    """What people labeled shows in what they see next, however rarely policies are shown otherwise."""
    run = SimulatedRun(small("online", promote_episodes=every, refresh_episodes=16))
    calmly(run, 200)
    held(run)
    fitted = [episodes for _, episodes in run.trained]
    first = {before + 16 for before, after in pairwise([*fitted, 96]) if after - before >= 16}
    assert first <= set(run.published)
    assert len(first) >= 2
    if every == 96:
        assert set(run.published) == {0, 96} | first


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stages", range(len(STAGES) + 2))
def test_a_kill_at_any_step_changes_nothing_of_the_outcome(kind: str, stages: int) -> None:
    """Of each job in turn the worker is killed after so many stages, or after all of them taken for dead."""
    calm = SimulatedRun(small(kind))
    calmly(calm, 200)
    for job in range(1, len(calm.jobs) + 1):
        run, accident = SimulatedRun(small(kind)), Accident(job, stages)
        calmly(run, 300, accident)
        held(run)
        assert accident.seen > job
        assert (run.finished, run.episodes) == (True, 96)
        assert [labels for labels, _ in run.trained] == [labels for labels, _ in calm.trained]
        if kind != "online":  # there PPO may get ahead of a reward training that is done twice
            assert (run.trained, run.published) == (calm.trained, calm.published)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_whatever_happens_the_promises_hold_and_the_run_ends(kind: str, seed: int) -> None:
    run = SimulatedRun(small(kind), seed)
    for _ in range(20):
        wildly(run, 200)
        held(run)
    run.pulled = False
    run.workers.clear()  # the power goes
    run.revive()
    calmly(run, 300)
    held(run)
    assert (run.finished, run.episodes) == (True, 96)


def test_a_schedule_that_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidError, match="set initial_labels to total_labels"):
        planned("sentiment-small", {"schedule": {"kind": "offline"}})
    with pytest.raises(InvalidError, match=r"lower schedule\.reward_trainings"):
        planned("sentiment-small", {"schedule": {"kind": "batched"}, "ppo": {"episodes": 64}})
    with pytest.raises(ValidationError):
        preset("sentiment-small").schedule.model_validate({"kind": "sometimes"})
