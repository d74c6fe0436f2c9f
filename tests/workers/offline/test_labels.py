"""An experiment that starts from a file of labels trains its first reward model on them."""

import json
from pathlib import Path

import pytest

from app.errors import ConflictError, InvalidError
from app.hparams import preset
from app.kinds import Split
from app.texts import digest_of, split_of
from tests.tiny import save_tiny_model
from workers.offline import events
from workers.offline.journal import Journal
from workers.offline.labels import read_file_of_labels
from workers.offline.ledger import Ledger
from workers.offline.reading import contradiction

HPARAMS = preset("sentiment-small")
TEXTS = [" the sun", " rain", " home", " door"]


def file_of(path: Path, prompts: list[str]) -> Path:
    rows = [{"prompt": prompt, "samples": TEXTS, "best": n % 4} for n, prompt in enumerate(prompts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_labels_of_a_file_count_by_the_split_of_their_prompt(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "tiny")
    prompts = [f"the sun {'was ' * n}home" for n in range(12)]
    given = read_file_of_labels(file_of(tmp_path / "a.jsonl", prompts), str(base), None, tmp_path, HPARAMS)
    began = events.Began(hparams=HPARAMS, base_model=str(base), labeler="vader", noise=0.0)
    ledger = Ledger.of([began, events.Brought(given=given)])
    expected = [n for n, prompt in enumerate(prompts) if split_of(digest_of(prompt)) == Split.TRAIN]
    assert ledger.usable(Split.TRAIN) == expected
    assert ledger.state().training_labels == len(expected)
    assert ledger.open() == []
    assert [ledger.labels[n].best for n in range(12)] == [n % 4 for n in range(12)]
    assert [sample.text for sample in ledger.comparisons[0].samples] == TEXTS


def test_bad_records_are_named_and_nothing_begins(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "tiny")
    path = file_of(tmp_path / "a.jsonl", ["the sun"])
    path.write_text(path.read_text() + '{"prompt": "p", "samples": [" sun", " rain"], "best": 0}\n')
    with pytest.raises(InvalidError, match=r"1 of 2 records are bad. .*line 2: it compares 2 samples, but the run 4"):
        read_file_of_labels(path, str(base), None, tmp_path, HPARAMS)


def test_labels_are_brought_before_anything_else(tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "tiny")
    given = read_file_of_labels(file_of(tmp_path / "a.jsonl", ["the sun"]), str(base), None, tmp_path, HPARAMS)
    began = events.Began(hparams=HPARAMS, base_model=str(base), labeler="vader", noise=0.0)
    brought = events.Brought(given=given)
    assert contradiction(brought, Ledger.of([began])) is None
    assert contradiction(brought, Ledger.of([began, brought])) == "labels are brought before anything is sampled"


def test_labels_of_another_experiment_with_the_same_model_are_taken_over(tmp_path: Path) -> None:
    base = str(save_tiny_model(tmp_path / "tiny"))
    given = read_file_of_labels(file_of(tmp_path / "a.jsonl", ["the sun", "rain"]), base, None, tmp_path, HPARAMS)
    began = events.Began(hparams=HPARAMS, base_model=base, labeler="vader", noise=0.0)
    asked = given[0].question.model_copy(update={"policy": 0, "reward_model": 0})
    answered = events.Labeled(comparison=2, verdict=given[0].verdict, best=3)
    other = Journal(tmp_path / "other")
    sampled = events.Sampled(comparisons=(asked,), given_up=0)
    other.append([began, events.Brought(given=given), sampled, answered])
    with pytest.raises(ConflictError, match="at work"):
        read_file_of_labels(tmp_path / "other", base, None, tmp_path, HPARAMS)
    other.close()
    taken = read_file_of_labels(tmp_path / "other", base, None, tmp_path, HPARAMS)
    assert taken[:2] == given
    assert (taken[2].question, taken[2].best, len(taken)) == (given[0].question, 3, 3)
    with pytest.raises(InvalidError, match=r"on samples of .*tiny, not of gpt2"):
        read_file_of_labels(tmp_path / "other", "gpt2", None, tmp_path, HPARAMS)
