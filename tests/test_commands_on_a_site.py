"""The commands of README and docs, typed one after another on a machine where Prefloop runs."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import NullPool, create_engine, select
from sqlalchemy.orm import Session

from app.embedded import Postgres
from app.models import Run
from tests.processes import wait_until
from tests.running import COMMAND, RunningPrefloop

pytestmark = pytest.mark.slow

SMALL = {
    "reward.normalization_samples": 32,
    "ppo.episodes": 800,
    "ppo.batch": 8,
    "ppo.micro_batch": 8,
    "schedule.initial_labels": 10,
    "schedule.total_labels": 400,
    "schedule.reward_trainings": 4,
    "schedule.outstanding": 12,
    "schedule.promote_episodes": 8,
}


class Terminal:
    """Somebody who types."""

    def __init__(self, prefloop: RunningPrefloop, folder: Path) -> None:
        self.prefloop, self.folder = prefloop, folder

    def types(self, *words: str, code: int = 0) -> str:
        """What `prefloop` prints; its exit code must be `code`."""
        known = {"PREFLOOP_HOME": str(self.prefloop.home), "PREFLOOP_PUBLIC_URL": self.prefloop.ready()["url"]}
        done = subprocess.run(
            (*COMMAND, *words),
            env={**os.environ, **known},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def terminal(servers_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    with socket.create_server(("127.0.0.1", 0)) as tried:
        port = tried.getsockname()[1]
    with RunningPrefloop(servers_dir / "typed", port) as prefloop:
        prefloop.ready()
        yield Terminal(prefloop, tmp_path_factory.mktemp("typed"))


@pytest.fixture(scope="module")
def run(terminal: Terminal) -> str:
    """A run on prompts of one's own, labeled by simulated people until a policy of its own serves."""
    (terminal.folder / "my_prompts.txt").write_text("".join(f"the sun was {n} and she\n" for n in range(200)))
    assert "200 prompts added to mine" in terminal.types("import-prompts", "my_prompts.txt", "--set", "mine")
    changes = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    question = 'task.question="Which continuation is the funniest?"'
    asked = ("--set", "prompt_set=mine", "--set", question, *changes)
    made = terminal.types("create-run", "my run", "--model", str(terminal.prefloop.home / "tiny"), *asked).strip()
    pace = ("--labelers", "3", "--seconds-per-label", "0.1", "--labels", "60", "--run", made)
    assert "60 labels" in terminal.types("simulate", "--rule", "longest", *pace)
    wait_until("a policy that serves", lambda: serves(terminal, made), seconds=300)
    return made


def serves(terminal: Terminal, run: str) -> bool:
    engine = create_engine(Postgres(data=terminal.prefloop.home / "postgres").url(), poolclass=NullPool)
    with Session(engine) as session:
        found = session.scalars(select(Run).where(Run.id == UUID(run))).one()
        return found.serving_id not in (None, found.reference_id)


def test_the_site_is_looked_after(terminal: Terminal) -> None:
    assert "newest schema" in terminal.types("migrate")
    assert "ok   schema" in terminal.types("doctor")
    assert "/signin/" in terminal.types("create-labeler", "Ada")
    assert "/signin/" in terminal.types("create-labeler", "Grace", "--role", "operator")
    tiny = str(terminal.prefloop.home / "tiny")
    assert terminal.types("fetch-model", tiny).strip() == tiny


def test_runs_are_steered(terminal: Terminal, run: str) -> None:
    assert run in terminal.types("runs", "list")
    terminal.types("runs", "pause", "my run", "--note", "lunch")
    terminal.types("runs", "resume", "my run")
    clone = terminal.types("runs", "clone", "my run", "another", "--set", "ppo.kl_target=8").strip()
    assert "ppo.kl_target" in terminal.types("runs", "compare", run, clone)
    terminal.types("runs", "stop", clone)


def test_data_goes_out_and_in(terminal: Terminal, run: str) -> None:
    scope = '{"splits": ["train"], "imported": false}'
    terminal.types("export-labels", "pairs", "--run", run, "--format", "pairs", "--scope", scope)
    terminal.types("export-labels", "best", "--run", run, "--format", "best_of_4")
    (rows,) = (terminal.folder / "best").glob("*.jsonl*")
    clone = terminal.types("runs", "clone", "my run", "for imports").strip()
    terminal.types("import-labels", str(rows), "--run", clone, "--dry-run")
    terminal.types("runs", "stop", clone)
    terminal.types("export-model", "policy", "--run", run)
    assert json.loads((terminal.folder / "policy" / "config.json").read_text())["model_type"] == "gpt2"


def test_policies_are_judged_and_old_files_go(terminal: Terminal, run: str) -> None:
    assert "reference" in terminal.types("evaluate", "--run", run, "--judge", "vader", "--samples", "8")
    terminal.types("gc")
    terminal.types("gc", "--remove")
    terminal.types("backup", str(terminal.folder / "backups"), "--keep", "14")
    assert "Every byte is as it was written." in terminal.types("backups", str(terminal.folder / "backups"), "--verify")


def test_without_a_command_it_says_which_there_are(terminal: Terminal) -> None:
    done = subprocess.run((*COMMAND, "--help"), capture_output=True, text=True, cwd=terminal.folder, check=True)
    assert all(name in done.stdout for name in ("up", "backup", "train", "evaluate"))
