"""A training state whose files were damaged between two starts."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.workers.offline.small import run_small, small_hparams, small_setup
from workers.checkpoints import CheckpointStore
from workers.offline.events import Trained
from workers.offline.experiment import Told
from workers.offline.journal import Journal
from workers.offline.ledger import Ledger
from workers.offline.reading import read_ledger
from workers.training_state import LostStateError


class Killed(BaseException):
    """Stands in for a kill."""


class KilledAfterJobs(Told):
    """Dies after so many PPO jobs; keeps what it is told."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.heard: list[str] = []

    def said(self, sentence: str) -> None:
        self.heard.append(sentence)

    def happened(self, ledger: Ledger) -> None:
        if len(ledger.trainings) == self.jobs:
            raise Killed


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def ledger_of(folder: Path) -> Ledger:
    journal = Journal(folder)
    try:
        return read_ledger(journal)
    finally:
        journal.close()


def figures(jobs: Sequence[Trained]) -> list[dict[str, float]]:
    """Statistics of every update, but for the time it took."""
    stats = [one for job in jobs for one in job.stats]
    return [{name: value for name, value in one.items() if not name.startswith("time/")} for one in stats]


def killed_after(jobs: int, folder: Path) -> tuple[CheckpointStore, list[Trained]]:
    """An experiment with one reward model whose last PPO job has just ended, and its jobs."""
    setup = small_setup(folder / "model", small_hparams(initial_labels=40, reward_trainings=1))
    with pytest.raises(Killed):
        run_small(folder / "out", setup, told=KilledAfterJobs(jobs))
    return CheckpointStore(folder / "out" / "checkpoints"), ledger_of(folder / "out").trainings


def test_ppo_goes_on_from_the_state_before_and_makes_the_same_updates_again(tmp_path: Path) -> None:
    store, jobs = killed_after(2, tmp_path)
    broken = store.root / jobs[-1].state_digest / "policy.safetensors"
    flip_a_byte(broken)
    told = KilledAfterJobs(4)  # more than there are
    run_small(tmp_path / "out", None, told=told)
    episodes = 16 * jobs[0].update
    said = f"{broken} is not what was saved; PPO goes on from the state before it, {episodes} episodes in."
    assert told.heard[0] == said
    ledger = ledger_of(tmp_path / "out")
    assert ledger.steps["lost"] == 1
    assert ledger.trainings[0] == jobs[0]
    assert ledger.episodes == 96
    assert [len(figures(job)) for job in (jobs, ledger.trainings)] == [jobs[-1].update, 6]
    assert figures(ledger.trainings)[: jobs[-1].update] == figures(jobs)
    store.verify(ledger.trainings[-1].state_digest)


def test_with_no_state_left_it_ends_with_the_name_of_the_file(tmp_path: Path) -> None:
    store, jobs = killed_after(2, tmp_path)
    store.delete(jobs[0].state_digest)
    broken = store.root / jobs[1].state_digest / "policy.safetensors"
    flip_a_byte(broken)
    journal = (tmp_path / "out" / "journal.jsonl").read_bytes()
    with pytest.raises(LostStateError, match=f"^{broken} is not what was saved: restore it from a copy, or start a"):
        run_small(tmp_path / "out", None)
    assert (tmp_path / "out" / "journal.jsonl").read_bytes().startswith(journal)
    assert ledger_of(tmp_path / "out").trainings == jobs
