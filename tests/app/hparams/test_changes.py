"""Changes of a preset: words become nested values, and what is wrong is named."""

import math

import pytest

from app.errors import InvalidError
from app.hparams import parse_changes, planned


def test_changes_nest_and_keep_their_types() -> None:
    words = ["ppo.batch=64", "ppo.kl_target=null", "prompt_set=mine", "task.question=Which is best?", "seed=3"]
    assert parse_changes(words) == {
        "ppo": {"batch": 64, "kl_target": None},
        "prompt_set": "mine",
        "task": {"question": "Which is best?"},
        "seed": 3,
    }


def test_a_preset_keeps_what_is_not_changed() -> None:
    changed, plain = planned("sentiment-small", {"ppo": {"batch": 8}}), planned("sentiment-small")
    assert changed.ppo.batch == 8
    assert changed.model_copy(update={"ppo": plain.ppo}) == plain


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ppo": {"batch": 0}}, "ppo.batch"),
        ({"ppo": {"bacht": 8}}, "ppo.bacht"),
        ({"task": {"min_terminator_index": 24}}, "min_terminator_index"),
        ({"ppo": {"minibatches": 5}}, "minibatches"),
        ({"schedule": {"initial_labels": 700}}, "initial_labels"),
        ({"ppo": {"kl_coef": 0.0}}, "never rises"),
        ({"ppo": {"kl_coef": 0.1, "kl_coef_least": 0.2}}, "kl_coef_least"),
        ({"ppo": {"kl_horizon": 6}}, r"kl_horizon \(6\) must exceed a fifth of batch \(32\)"),
        ({"ppo": {"value_init": "reward_model"}}, "wants reward heads that read the last token at depth 1 alone"),
        ({"task": {"invalid_score": math.nan}}, "task.invalid_score: Input should be a finite number"),
        ({"ppo": {"kl_target": math.inf}}, "ppo.kl_target: Input should be a finite number"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidError, match=said):
        planned("sentiment-small", changes)


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(InvalidError, match="sentiment-small"):
        planned("none")


def test_a_word_without_a_value_is_refused() -> None:
    with pytest.raises(InvalidError, match="name=value"):
        parse_changes(["ppo.batch"])


def test_values_may_start_from_a_reward_model_that_reads_as_they_do() -> None:
    """The paper's head does; two of it as an ensemble are no single head to start from."""
    start = {"ppo": {"value_init": "reward_model"}}
    assert planned("sentiment", start).ppo.value_init == "reward_model"
    with pytest.raises(InvalidError, match="an ensemble of 1"):
        planned("sentiment", start | {"reward": {"ensemble": 2}})


def test_a_horizon_is_as_short_as_the_controller_can_bear() -> None:
    """0.2 * 32 / 7 takes at most 91 % of the coefficient away; without a target there is no controller."""
    assert planned("sentiment-small", {"ppo": {"kl_horizon": 7}}).ppo.kl_horizon == 7
    assert planned("sentiment-small", {"ppo": {"kl_horizon": 1, "kl_target": None}}).ppo.kl_horizon == 1


def test_a_run_may_have_no_kl_penalty() -> None:
    assert planned("sentiment-small", {"ppo": {"kl_coef": 0.0, "kl_target": None}}).ppo.kl_coef == 0
