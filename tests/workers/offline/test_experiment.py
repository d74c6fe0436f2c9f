"""Whole experiments on a tiny model: they learn, can be killed at any event, and repeat themselves."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from app.errors import ConflictError, InvalidError
from app.kinds import Split, Verdict
from app.texts import digest_of, split_of
from tests.workers.offline.small import happiness, run_small, small_hparams, small_setup
from workers.checkpoints import CheckpointStore
from workers.judges import RatedText, classifier
from workers.offline import events
from workers.offline.experiment import Told
from workers.offline.journal import NAME, Journal
from workers.offline.ledger import Ledger
from workers.rlhf.schedule import labels_required


class Killed(BaseException):
    """Stands in for a kill: nothing of the program runs on after it."""


class KilledAfter(Told):
    """Dies after so many events."""

    def __init__(self, happened: int) -> None:
        self.left = happened

    def happened(self, ledger: Ledger) -> None:  # noqa: ARG002
        self.left -= 1
        if self.left == 0:
            raise Killed


def journal_of(folder: Path) -> list[events.AnyEvent]:
    journal = Journal(folder)
    try:
        return journal.read()
    finally:
        journal.close()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished experiment."""
    folder = tmp_path_factory.mktemp("experiment")
    run_small(folder / "out", small_setup(folder / "model"))
    return folder / "out"


def test_it_does_all_that_was_asked(done: Path) -> None:
    ledger = Ledger.of(journal_of(done))
    assert ledger.finished
    assert ledger.episodes == 96
    assert len(ledger.usable(Split.TRAIN)) == 40
    first, last = (len(one.labels) for one in ledger.rewards)
    assert 24 <= first <= 32  # labels come in chunks
    assert last == 40
    assert [policy.episodes for policy in ledger.policies] == [32, 64, 96]
    assert ledger.promotions + len(ledger.held) == 3
    assert set(ledger.judged) == {0, 1, 2}
    assert (done / "report.html").stat().st_size > 10_000


def test_labels_say_what_the_known_reward_says(done: Path) -> None:
    ledger = Ledger.of(journal_of(done))
    for number, label in ledger.labels.items():
        scores = [happiness("", sample.text) for sample in ledger.comparisons[number].samples]
        best = [place for place, score in enumerate(scores) if score == max(scores)]
        assert (label.best, label.verdict) == ((best[0], Verdict.BEST) if len(best) == 1 else (None, Verdict.TIE))


def test_no_prompt_of_one_split_serves_another(done: Path) -> None:
    ledger = Ledger.of(journal_of(done))
    for one in ledger.comparisons:
        assert one.split == split_of(digest_of(one.prompt)) != Split.TEST
    shown = {prompt for event in ledger.shown.values() for prompt, _ in event.samples}
    assert {split_of(digest_of(prompt)) for prompt in shown} == {Split.TEST}


def test_no_update_starts_before_its_labels_are_in(done: Path) -> None:
    ledger, started = Ledger(), 0
    for event in journal_of(done):
        if isinstance(event, events.Trained):
            for update in range(started, event.update):
                needed = labels_required(16 * update, initial=24, total=40, total_episodes=96)
                assert len(ledger.usable(Split.TRAIN)) >= needed
            started = event.update
        ledger.apply(event)


def test_two_states_and_every_policy_are_kept_and_shown(done: Path) -> None:
    ledger, there = Ledger.of(journal_of(done)), CheckpointStore(done / "checkpoints").digests()
    states = [one.state_digest for one in ledger.trainings]
    assert len(set(states)) > 2
    assert there & set(states) == set(states[-2:])
    assert {policy.digest for policy in ledger.policies} <= there
    assert None in ledger.shown
    assert len(ledger.shown) == 1 + ledger.promotions
    prompts = [[prompt for prompt, _ in event.samples] for event in ledger.shown.values()]
    assert all(one == prompts[0] for one in prompts)


def test_the_report_tells_the_figures(done: Path) -> None:
    ledger, page = Ledger.of(journal_of(done)), (done / "report.md").read_text()
    rows = page.split("## Known reward")[0].splitlines()
    for number, one in enumerate(ledger.rewards):
        error, spread = one.report["calibration_heldout"]["error"], one.report["calibration_heldout"]["brier"]
        (row,) = [line for line in rows if line.startswith(f"| {number} | {len(one.labels)} |")]
        assert row.endswith(f"| {error:.3f} | {spread:.3f} |")
    assert ledger.final is not None
    assert f"{ledger.final.result['win_rate']:.1%}" in page
    assert all(f"| {policy.number} | {policy.episodes} |" in page for policy in ledger.policies)


@pytest.mark.parametrize("happened", [1, 2, 5, 9, 14])
def test_killed_after_any_event_it_ends_with_the_same_numbers(done: Path, tmp_path: Path, happened: int) -> None:
    """PPO jobs end by the clock, so what a job holds may differ; the updates themselves may not."""
    setup = small_setup(tmp_path / "model")
    with pytest.raises(Killed):
        run_small(tmp_path / "out", setup, told=KilledAfter(happened))
    run_small(tmp_path / "out", None)
    expected, found = Ledger.of(journal_of(done)), Ledger.of(journal_of(tmp_path / "out"))
    assert found.comparisons == expected.comparisons
    assert found.labels == expected.labels
    assert figures(found) == figures(expected)
    assert [policy.digest for policy in found.policies] == [policy.digest for policy in expected.policies]
    assert found.optimum == expected.optimum


def figures(ledger: Ledger) -> list[dict[str, float]]:
    """Statistics of every update, but for the time it took."""
    stats = [one for job in ledger.trainings for one in job.stats]
    return [{name: value for name, value in one.items() if not name.startswith("time/")} for one in stats]


def test_noise_makes_some_labels_random(tmp_path: Path) -> None:
    run_small(
        tmp_path / "out",
        small_setup(tmp_path / "model", small_hparams(initial_labels=40, reward_trainings=1), noise=0.5),
    )
    ledger = Ledger.of(journal_of(tmp_path / "out"))
    right = wrong = 0
    for number, label in ledger.labels.items():
        scores = [happiness("", sample.text) for sample in ledger.comparisons[number].samples]
        right += label.best == scores.index(max(scores))
        wrong += label.best != scores.index(max(scores))
    # A random label is right in a quarter of cases: 62.5 % in all; five standard errors are 36 points.
    assert 0.26 < right / (right + wrong) < 0.99


def test_ties_train_where_they_are_even_and_an_ensemble_says_how_far_it_disagrees(tmp_path: Path) -> None:
    hparams = small_hparams(total_labels=64)  # so many that some are written after the first reward model
    reward = hparams.reward.model_copy(update={"tie_labels": "even", "ensemble": 2})
    setup = small_setup(tmp_path / "model", hparams.model_copy(update={"reward": reward}))
    run_small(tmp_path / "out", replace(setup, labeler="tests.workers.offline.small:happy_words"))
    ledger = Ledger.of(journal_of(tmp_path / "out"))
    trained = {ledger.labels[number].verdict for one in ledger.rewards for number in one.labels}
    assert trained == {Verdict.BEST, Verdict.TIE}
    assert [one.report["members"] for one in ledger.rewards] == [2, 2]
    for one in ledger.comparisons:
        scored = one.reward_model is not None
        assert all((sample.disagreement is not None) == scored for sample in one.samples)
    assert any(one.reward_model is not None for one in ledger.comparisons)


def test_what_a_classifier_learned_from_is_kept_with_the_experiment(tmp_path: Path) -> None:
    """Killed before the first label, it goes on although the file of rated texts is gone, and labels as that said."""
    file, out = tmp_path / "mine.jsonl", tmp_path / "out"
    file.write_text("".join(json.dumps({"text": text, "rating": n}) + "\n" for n, text in enumerate(RATED)))
    setup = replace(small_setup(tmp_path / "model"), labeler=f"classifier:{file}")
    with pytest.raises(Killed):
        run_small(out, setup, told=KilledAfter(2))
    file.write_text(file.read_text().replace("happy", "gloomy"))
    with pytest.raises(ConflictError, match="other settings"):
        run_small(out, setup)
    file.unlink()
    with pytest.raises(Killed):
        run_small(out, None, told=KilledAfter(24))
    ledger = Ledger.of(journal_of(out))
    judge = classifier([RatedText(text=text, rating=float(n)) for n, text in enumerate(RATED)])
    assert ledger.labels
    for number, label in ledger.labels.items():
        scores = [judge("", sample.text) for sample in ledger.comparisons[number].samples]
        assert label.verdict is Verdict.TIE or label.best == scores.index(max(scores))
    assert any(label.verdict is Verdict.BEST for label in ledger.labels.values())


RATED = tuple(
    f"{word} and {other}" for word in ("sad", "rain", "door", "home", "sun", "happy") for other in ("he", "she")
)
"""From bad to good."""


def test_another_setting_in_the_same_folder_is_refused(done: Path, tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="other settings"):
        run_small(done, small_setup(tmp_path / "model", small_hparams(outstanding=9)))


def test_an_empty_folder_cannot_go_on(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="no experiment yet"):
        run_small(tmp_path, None)
    assert not any(tmp_path.iterdir())
    (tmp_path / NAME).touch()  # of a start that was refused
    with pytest.raises(InvalidError, match="no experiment yet"):
        run_small(tmp_path, None)


def test_rewards_are_fitted_to_all_labels_so_far(done: Path) -> None:
    ledger = Ledger()
    for event in journal_of(done):
        if isinstance(event, events.Rewarded):
            assert list(event.labels) == ledger.usable(Split.TRAIN)
        ledger.apply(event)
    assert all(set(one.labels) < set(other.labels) for one, other in pairwise(ledger.rewards))
