"""Forms are made from the classes: every setting once, documented, and what is typed comes back as it was."""

import pytest

from app.hparams import (
    PRESETS,
    InvalidSettingsError,
    SettingKind,
    changed,
    differences,
    planned,
    preset,
    settings_of,
    typed,
)


@pytest.mark.parametrize("name", PRESETS)
def test_every_setting_is_documented_and_typing_it_again_changes_nothing(name: str) -> None:
    settings = settings_of(preset(name))
    assert len({one.path for one in settings}) == len(settings)
    assert [one.path for one in settings if not one.description] == []
    assert typed(settings, {one.path: one.text for one in settings}) == {}
    assert changed(preset(name), {}) == preset(name)


def test_typed_values_reach_their_settings() -> None:
    base = preset("sentiment-small")
    texts = {
        "ppo.batch": "64",
        "ppo.episodes": "6400",
        "ppo.kl_target": "",
        "ppo.whiten_rewards": "false",
        "task.suffix": "\r\n\r\nTL;DR:",
        "schedule.kind": "batched",
        "ppo.guards.sign_check": "5",
    }
    made = changed(base, typed(settings_of(base), texts))
    assert (made.ppo.batch, made.ppo.kl_target, made.ppo.whiten_rewards) == (64, None, False)
    assert (made.task.suffix, made.schedule.kind, made.ppo.guards.sign_check) == ("\n\nTL;DR:", "batched", 5)
    assert set(differences(base, made)) == set(texts)


def test_each_mistake_is_told_at_its_setting() -> None:
    base = preset("sentiment-small")
    texts = {"ppo.batch": "many", "schedule.initial_labels": "900", "ppo.lam": "2"}
    with pytest.raises(InvalidSettingsError) as caught:
        changed(base, typed(settings_of(base), texts))
    assert set(caught.value.faults) == {"ppo.batch", "schedule", "ppo.lam"}
    assert "must not exceed total_labels" in caught.value.faults["schedule"]


def test_kinds_of_fields() -> None:
    kinds = {one.path: one.kind for one in settings_of(preset("sentiment-small"))}
    assert kinds["ppo.batch"] == SettingKind.WHOLE
    assert kinds["ppo.learning_rate"] == SettingKind.NUMBER
    assert kinds["ppo.whiten_rewards"] == SettingKind.YES_NO
    assert kinds["schedule.kind"] == SettingKind.CHOICE
    assert kinds["task.question"] == SettingKind.TEXT
    assert kinds["reward.heads"] == SettingKind.JSON


def test_alike_runs_differ_in_nothing() -> None:
    assert differences(preset("sentiment-small"), preset("sentiment-small")) == {}
    assert differences(preset("sentiment-small"), planned("sentiment-small", {"seed": 3})) == {"seed": [0, 3]}
    assert differences() == {}
