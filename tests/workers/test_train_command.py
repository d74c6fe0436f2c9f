"""`prefloop train` as a researcher meets it: what it says, how it ends, and that the same command goes on."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import typer
from transformers.utils import logging as transformers_logging
from typer.testing import CliRunner, Result

from app.errors import DomainError
from tests.disk import largest_file
from tests.tiny import save_tiny_model
from tests.workers.offline import small
from workers.offline.journal import Journal
from workers.offline.ledger import Ledger
from workers.offline.reading import read_ledger
from workers.train_command import train

SENTENCE = 400
"""Characters; longer ones nobody reads."""
command = typer.Typer()
command.command()(train)


@pytest.fixture(autouse=True)
def _quiet_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PREFLOOP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFLOOP_TRAINER_THREADS", "1")
    verbosity = transformers_logging.get_verbosity()
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what it starts behind ignore it
    yield
    signal.signal(signal.SIGINT, heard)
    structlog.reset_defaults()
    transformers_logging.enable_progress_bar()
    transformers_logging.set_verbosity(verbosity)


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """What starts a small experiment in `tmp_path / "out"`."""
    model, prompts = save_tiny_model(tmp_path / "tiny"), tmp_path / "prompts.txt"
    prompts.write_text("\n".join(small.PROMPTS))
    changes = [
        f"--set={group}.{name}={json.dumps(value)}"
        for group, values in small.CHANGES.items()
        for name, value in values.items()
    ]
    out = tmp_path / "out"
    return [f"--out={out}", f"--model={model}", f"--prompts={prompts}", f"--judge={small.JUDGE}", *changes]


def run(*words: str) -> Result:
    return CliRunner().invoke(command, words, env={"COLUMNS": "200"})  # so that no bar is folded


def sentence(result: Result) -> str:
    """What the command ends with where something is wrong: one line, no trace."""
    assert isinstance(result.exception, DomainError), result.output
    said = result.exception.detail
    assert "\n" not in said
    assert len(said) < SENTENCE
    return said


def ledger_of(folder: Path) -> Ledger:
    journal = Journal(folder)
    try:
        return read_ledger(journal)
    finally:
        journal.close()


def interrupting(_: str, text: str) -> float:
    """A judge at whose first text somebody presses Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)
    return float(len(text))


def test_a_full_disk_ends_in_a_sentence_and_the_same_command_goes_on(words: list[str], tmp_path: Path) -> None:
    out, journal = tmp_path / "out", tmp_path / "out" / "journal.jsonl"
    words = [word for word in words if "ppo.episodes" not in word]
    words.append("--set=ppo.episodes=192")  # so many that the journal outgrows every other file but the page
    with largest_file(45_000):  # too small for a training state
        said = sentence(run(*words))
    assert "ran full while a checkpoint was written. Free some space" in said
    assert said.endswith(f"What was done before is kept in {out}.")
    assert not ledger_of(out).trainings
    before = journal.read_bytes()
    with largest_file(50_000):  # too small for the journal
        said = sentence(run(*words))
    assert said.startswith(f"Cannot write {journal}: ")
    assert "start the same command again; it goes on from here" in said
    assert journal.read_bytes().startswith(before)
    assert ledger_of(out).trainings
    with largest_file(1_000_000):  # too small for the page of curves
        said = sentence(run(*words))
    assert said.startswith("The disk is full (")
    assert ledger_of(out).final is not None
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [str(out / "report.md"), str(out / "report.html")]
    bars = done.stderr.splitlines()
    assert any("labels" in line and "40/40" in line for line in bars), done.stderr
    assert any("episodes" in line and "192/192" in line for line in bars), done.stderr
    again = run(f"--out={out}")
    assert again.stdout == done.stdout


def test_a_broken_guard_ends_in_its_sentence_and_keeps_what_was_done(words: list[str], tmp_path: Path) -> None:
    said = sentence(run(*words, "--set=ppo.guards.entropy_floor=50"))
    assert said.startswith("entropy in nats per token is ")
    assert "below its bound of 50: the policy says one thing only" in said
    assert said.endswith(f"What was done before is kept in {tmp_path / 'out'}.")
    ledger = ledger_of(tmp_path / "out")
    assert ledger.rewards
    assert not ledger.trainings


def test_ctrl_c_says_how_to_go_on(words: list[str], tmp_path: Path) -> None:
    done = run(*words, f"--judge={__name__}:interrupting")
    assert done.exit_code == 130
    assert "Loading weights" not in done.output
    assert "warning: most samples are thrown away" in done.output
    last = done.stderr.splitlines()[-1]
    assert last == f"Stopped; the same command, or `prefloop train --out {tmp_path / 'out'}`, goes on from there."
    ledger = ledger_of(tmp_path / "out")
    assert ledger.comparisons
    assert not ledger.labels


def test_what_is_wrong_is_said_before_anything_is_written(words: list[str], tmp_path: Path) -> None:
    bad, empty = tmp_path / "bad.jsonl", tmp_path / "empty.jsonl"
    bad.write_text('{"text": "one"}\n{"text": 3}\n')
    empty.touch()
    wrong = {
        "--preset=no": "no preset 'no'; choose one of: cnndm, ",
        "--judge=nobody": "'nobody': give vader, ",
        "--judge=nowhere:nobody": "nowhere",
        f"--prompts={bad}": f'{bad}, line 2: give a string, or an object with a non-empty string "text".',
        f"--prompts={tmp_path}/none.txt": f"Cannot read {tmp_path}/none.txt: No such file or directory.",
        f"--prompts={empty}": "0 different prompts leave 0 in the train split, which needs 16",
        f"--model={tmp_path}/none": f"The folder {tmp_path}/none lacks config.json",
        "--model=not a name": "'not a name' is neither a hub id nor a folder",
        "--set=ppo.batch": "Write 'ppo.batch' as name=value",
        "--set=ppo.nothing=1": "ppo.nothing: ",
        "--set=ppo.batch=7": "episodes (96) must be a multiple of batch (7)",
        "--set=task.query_tokens=300": "set task.query_tokens to 250 or less",
    }
    for word, said in wrong.items():
        assert said in sentence(run(*words, word)), word
    assert (tmp_path / "out" / "journal.jsonl").read_bytes() == b""
    assert sentence(run(f"--out={tmp_path}/other")).startswith(f"{tmp_path}/other holds no experiment yet: say what")
    assert not (tmp_path / "other").exists()


def test_a_model_that_is_no_causal_language_model_is_named(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "tiny" / "config.json").write_text('{"model_type": "t5"}')
    assert "a t5 model is no causal language model; choose another one" in sentence(run(*words))


def test_a_journal_with_a_best_out_of_range_is_refused_with_the_line(tmp_path: Path) -> None:
    setup, samples = small.small_setup(tmp_path / "model"), [{"text": "a.", "tokens": [1]}] * 4
    question = {"prompt": "p", "split": "train", "policy": None, "promotion": 0, "reward_model": None}
    happened = [
        setup.event.model_dump(mode="json"),
        {"kind": "imported", "digest": "d"},
        {"kind": "sampled", "comparisons": [question | {"samples": samples}], "given_up": 0},
        {"kind": "labeled", "comparison": 0, "verdict": "best", "best": 7},
    ]
    path = tmp_path / "out" / "journal.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(one) + "\n" for one in happened))
    said = sentence(run(f"--out={path.parent}"))
    assert said.startswith(f"{path}, line 4: `best` is 7, but comparison 0 has samples 0 to 3. Put the file back")


def test_prompts_are_cut_from_longer_texts(words: list[str], tmp_path: Path) -> None:
    """Behind the first `door` and up to the last `home`, forty texts say the same: one prompt, which is too few."""
    longer = tmp_path / "longer.txt"
    heads = [" ".join(text.split()[:2]) for text in small.PROMPTS[:40]]
    longer.write_text("\n".join(f"{head} door she was happy home rain and" for head in heads))
    edges = ["--set=task.query_start= door", "--set=task.query_end= home"]
    result = run(*words, f"--prompts={longer}", "--cut", *edges)
    assert "1 different prompts leave" in sentence(result)
    assert "40 prompts cut from 40 texts, 0 gave none" in result.output
