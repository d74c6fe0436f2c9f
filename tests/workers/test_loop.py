"""The run's state machine: what starts when, and that nothing starts too early or twice."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.hparams import RunHParams, planned, preset
from app.kinds import JobKind
from workers.loop import (
    Action,
    Candidate,
    Demote,
    Finish,
    Hold,
    Promote,
    RunState,
    Start,
    Trial,
    next_actions,
    open_wanted,
    waiting_for,
)
from workers.schedules import schedule_of

SMALL = preset("sentiment-small")

NEW = RunState(
    has_reference=True,
    stopped_line=False,
    busy=frozenset(),
    training_labels=0,
    reward_labels=None,
    reward_episodes=0,
    episodes=0,
    open_training=96,
    supply_target=16,
    unscored=False,
    candidate=None,
    serving=None,
    not_shown=None,
)
TRAINED = replace(NEW, training_labels=64, reward_labels=64)
BATCHED = planned("sentiment-small", {"schedule": {"kind": "batched", "total_labels": 256, "reward_trainings": 4}})
"""Rounds of 64 labels; 125 updates of 32 episodes end them after 31, 62, 93 and 125 updates."""


def kinds(actions: list[Action]) -> list[JobKind]:
    """Kinds of the started jobs, in order."""
    return [action.kind for action in actions if isinstance(action, Start)]


def test_nothing_starts_before_the_reference_is_there() -> None:
    assert kinds(next_actions(replace(NEW, has_reference=False), SMALL)) == [JobKind.IMPORT_MODEL]


def test_a_run_with_full_supply_and_no_labels_waits() -> None:
    assert next_actions(NEW, SMALL) == []
    assert waiting_for(NEW, SMALL) == "64 more labels"


def sampled(actions: list[Action]) -> list[int | str]:
    """Counts of the sampling jobs."""
    return [one.args["count"] for one in actions if isinstance(one, Start) and one.kind is JobKind.SAMPLE]


def updates_allowed(state: RunState, hparams: RunHParams) -> int:
    """PPO updates that may run."""
    return schedule_of(hparams).updates_allowed(state)


def test_another_batch_is_asked_for_whenever_fewer_are_requested_than_the_labels_due_and_the_margin() -> None:
    # 64 labels are due before the first episode, and 32 are kept outstanding beyond them.
    assert sampled(next_actions(replace(NEW, training_labels=60, open_training=35), SMALL)) == [16]
    assert sampled(next_actions(replace(NEW, training_labels=60, open_training=36), SMALL)) == []
    assert sampled(next_actions(replace(NEW, training_labels=0, open_training=95), SMALL)) == [16]


def test_more_people_get_more_at_hand() -> None:
    # Five people want 2 x 5 x 4 = 40 ready, more than the margin of 32.
    assert sampled(next_actions(replace(NEW, supply_target=40, open_training=103), SMALL)) == [16]
    assert sampled(next_actions(replace(NEW, supply_target=40, open_training=104), SMALL)) == []


def test_no_more_is_asked_than_the_labels_of_the_whole_run() -> None:
    last = replace(TRAINED, episodes=3968, training_labels=590, reward_labels=590, open_training=8)
    assert sampled(next_actions(last, SMALL)) == [2]
    assert sampled(next_actions(replace(last, open_training=10), SMALL)) == []


def test_the_reward_model_is_trained_at_64_labels_and_not_again_before_the_next_point() -> None:
    assert kinds(next_actions(replace(NEW, training_labels=64), SMALL)) == [JobKind.TRAIN_REWARD]
    # The second of ten points between 64 and 600 is ceil(64 + 536 / 9) = 124.
    assert JobKind.TRAIN_REWARD not in kinds(next_actions(replace(TRAINED, training_labels=123), SMALL))
    assert JobKind.TRAIN_REWARD in kinds(next_actions(replace(TRAINED, training_labels=124), SMALL))


def test_points_missed_in_a_burst_are_made_up_by_one_training() -> None:
    assert kinds(next_actions(replace(NEW, training_labels=600), SMALL)).count(JobKind.TRAIN_REWARD) == 1
    assert JobKind.TRAIN_REWARD not in kinds(next_actions(replace(NEW, training_labels=600, reward_labels=600), SMALL))


def test_ppo_waits_for_the_first_reward_model_and_then_for_labels() -> None:
    assert JobKind.TRAIN_POLICY not in kinds(next_actions(replace(NEW, training_labels=64), SMALL))
    assert Start(kind=JobKind.TRAIN_POLICY, args={"updates": 1}) in next_actions(TRAINED, SMALL)
    # After one update of 32 episodes l(32) = ceil(64 + 536 * (1 - (1 - 0.008) ** 2)) = ceil(72.54) = 73.
    later = replace(TRAINED, episodes=32)
    assert updates_allowed(later, SMALL) == 0
    assert waiting_for(later, SMALL) == "9 more labels"
    assert updates_allowed(replace(later, training_labels=73), SMALL) == 1


def test_offline_all_labels_come_before_the_one_reward_training_and_all_updates_after_it() -> None:
    offline = preset("sentiment-124m")
    assert kinds(next_actions(replace(NEW, training_labels=4_991), offline)) == []
    assert waiting_for(replace(NEW, training_labels=4_991), offline) == "1 more label"
    assert kinds(next_actions(replace(NEW, training_labels=4_992), offline)) == [JobKind.TRAIN_REWARD]
    trained = replace(NEW, training_labels=4_992, reward_labels=4_992, open_training=0)
    assert next_actions(trained, offline) == [Start(kind=JobKind.TRAIN_POLICY, args={"updates": 1954})]


def test_no_kind_starts_twice() -> None:
    eager = replace(TRAINED, episodes=960, training_labels=292, open_training=0, unscored=True, not_shown="x")
    started = kinds(next_actions(eager, SMALL))
    assert len(started) == len(set(started)) == 5
    for kind in started:
        assert kind not in kinds(next_actions(replace(eager, busy=frozenset({kind})), SMALL))


def test_the_cord_stops_ppo_and_promotion_but_not_samples_nor_reward_training() -> None:
    state = replace(
        TRAINED,
        episodes=960,
        training_labels=292,
        open_training=0,
        candidate=Candidate(kl=1.0, valid_fraction=1.0),
        stopped_line=True,
    )
    actions = next_actions(state, SMALL)
    assert JobKind.TRAIN_POLICY not in kinds(actions)
    assert not any(isinstance(action, Promote) for action in actions)
    assert {JobKind.SAMPLE, JobKind.TRAIN_REWARD} <= set(kinds(actions))


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (Candidate(kl=6.0, valid_fraction=0.5), Promote),
        (Candidate(kl=24.1, valid_fraction=0.5), Hold),
        (Candidate(kl=6.0, valid_fraction=0.01), Hold),
    ],
)
def test_a_candidate_serves_only_within_its_guards(candidate: Candidate, expected: type[Promote] | type[Hold]) -> None:
    actions = next_actions(replace(NEW, candidate=candidate), SMALL)
    assert [type(action) for action in actions if not isinstance(action, Start)] == [expected]
    # Who has just been promoted writes at once, although enough has been asked for.
    assert sampled(actions) == ([16] if expected is Promote else [])


def test_a_promoted_policy_writes_no_more_than_the_labels_of_the_whole_run() -> None:
    candidate = Candidate(kl=6.0, valid_fraction=0.5)
    last = replace(TRAINED, episodes=3968, training_labels=590, reward_labels=590, candidate=candidate)
    assert sampled(next_actions(replace(last, open_training=7), SMALL)) == [3]
    assert sampled(next_actions(replace(last, open_training=10), SMALL)) == []
    # Nor more than a batch beyond what is due: 64 labels and 32 outstanding.
    early = replace(NEW, training_labels=60, candidate=candidate)
    assert sampled(next_actions(replace(early, open_training=51), SMALL)) == [16]
    assert sampled(next_actions(replace(early, open_training=52), SMALL)) == []
    assert open_wanted(early, SMALL) == 52


def test_a_run_finishes_when_all_is_done_and_shown() -> None:
    done = replace(NEW, episodes=SMALL.ppo.episodes, training_labels=600, reward_labels=600)
    assert next_actions(done, SMALL) == [Finish()]
    assert Finish() not in next_actions(replace(done, busy=frozenset({JobKind.SCORE})), SMALL)
    assert Finish() not in next_actions(replace(done, not_shown="last policy"), SMALL)


@given(labels=st.integers(0, 700), updates=st.integers(0, 125))
def test_no_allowed_update_starts_before_its_labels_are_in(labels: int, updates: int) -> None:
    hparams: RunHParams = SMALL
    state = replace(NEW, training_labels=labels, episodes=32 * updates)
    for ahead in range(updates_allowed(state, hparams)):
        share = (state.episodes + 32 * ahead) / 4000
        assert labels >= 64 + 536 * (1 - (1 - share) ** 2) - 1e-6


def test_batched_collects_trains_and_optimises_in_turn() -> None:
    first = replace(NEW, open_training=0)
    assert next_actions(first, BATCHED) == [Start(kind=JobKind.SAMPLE, args={"count": 16})]
    assert sampled(next_actions(replace(first, training_labels=10, open_training=50), BATCHED)) == [4]
    assert next_actions(replace(first, training_labels=60, open_training=4), BATCHED) == []
    assert kinds(next_actions(replace(first, training_labels=64), BATCHED)) == [JobKind.TRAIN_REWARD]
    fitted = replace(first, training_labels=64, reward_labels=64)
    assert next_actions(fitted, BATCHED) == [Start(kind=JobKind.TRAIN_POLICY, args={"updates": 31})]
    assert next_actions(replace(fitted, episodes=30 * 32), BATCHED) == [
        Start(kind=JobKind.TRAIN_POLICY, args={"updates": 1})
    ]
    second = replace(fitted, episodes=31 * 32)
    assert next_actions(second, BATCHED) == [Start(kind=JobKind.SAMPLE, args={"count": 16})]
    assert waiting_for(second, BATCHED) == "64 more labels"


def test_batched_waits_for_the_judgement_of_the_policy_that_writes_the_next_batch() -> None:
    candidate = Candidate(kl=6.0, valid_fraction=0.5)
    ended = replace(NEW, training_labels=64, reward_labels=64, episodes=31 * 32, open_training=0, candidate=candidate)
    assert [type(one) for one in next_actions(ended, BATCHED)] == [Promote]
    assert sampled(next_actions(replace(ended, stopped_line=True), BATCHED)) == [16]  # by the approved policy


def test_batched_freezes_the_reward_model_while_the_policy_is_optimised() -> None:
    more = replace(NEW, training_labels=130, reward_labels=64, episodes=10 * 32, open_training=0)
    assert kinds(next_actions(more, BATCHED)) == [JobKind.TRAIN_POLICY]


def test_batched_trains_a_reward_model_in_each_round_even_when_its_labels_are_in_already() -> None:
    early = replace(NEW, training_labels=130, reward_labels=130, episodes=31 * 32, open_training=0)
    assert kinds(next_actions(early, BATCHED)) == [JobKind.TRAIN_REWARD]
    assert waiting_for(early, BATCHED) == "a reward model on all labels"
    again = replace(early, reward_episodes=31 * 32)
    assert kinds(next_actions(again, BATCHED)) == [JobKind.TRAIN_POLICY]


def test_batched_goes_on_although_a_label_is_taken_back_during_optimisation() -> None:
    fewer = replace(NEW, training_labels=60, reward_labels=64, episodes=10 * 32, open_training=0)
    assert kinds(next_actions(fewer, BATCHED)) == [JobKind.TRAIN_POLICY]


def test_a_serving_policy_that_loses_blind_comparisons_gives_way_even_on_a_stopped_line() -> None:
    # Ten of ten lost is an e-value of 186, over the 164.5 that the first policy of a run may lose at 1 %.
    lost = replace(NEW, serving=Trial(won=0, lost=10))
    (demote,) = next_actions(lost, SMALL)
    assert isinstance(demote, Demote)
    assert demote.reason == "it won 0 of 10 blind comparisons against the reference"
    assert [type(one) for one in next_actions(replace(lost, stopped_line=True), SMALL)] == [Demote]
    assert next_actions(replace(NEW, serving=Trial(won=0, lost=9)), SMALL) == []
    never = planned("sentiment-small", {"promotion": {"demotion_error": None}})
    assert next_actions(lost, never) == []


@pytest.mark.parametrize(
    ("won", "lost", "expected"),
    [
        (0, 0, []),
        (5, 5, []),
        (12, 2, [Promote]),
        (0, 7, [Hold]),
        (40, 40, []),
        (85, 85, [Promote]),  # no worse by more than the margin, although no better
        (90, 110, [Hold]),  # undecided after all that may be asked
    ],
)
def test_a_strict_run_lets_blind_answers_decide(won: int, lost: int, expected: list[type]) -> None:
    strict = planned("sentiment-small", {"promotion": {"strict": True}})
    candidate = Candidate(kl=6.0, valid_fraction=0.5, trial=Trial(won=won, lost=lost, open=16))
    actions = next_actions(replace(NEW, candidate=candidate), strict)
    assert [type(one) for one in actions if not isinstance(one, Start)] == expected


def test_a_strict_candidate_gets_blind_comparisons_until_enough_are_asked() -> None:
    strict = planned("sentiment-small", {"promotion": {"strict": True}})

    def asked(trial: Trial) -> list[Action]:
        return next_actions(replace(NEW, candidate=Candidate(kl=6.0, valid_fraction=0.5, trial=trial)), strict)

    assert asked(Trial()) == [Start(kind=JobKind.SAMPLE, args={"count": 16, "trial": 1})]
    assert asked(Trial(open=16)) == []
    assert asked(Trial(won=85, lost=105, open=10)) == []  # 200 are all that may be asked
    hungry = replace(NEW, open_training=0, candidate=Candidate(kl=6.0, valid_fraction=0.5, trial=Trial()))
    assert len(sampled(next_actions(hungry, strict))) == 1
