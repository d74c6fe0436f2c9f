"""The command line: what people type leads to rows, what goes wrong to one sentence and exit code 1."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import accounts, cli
from app.errors import InvalidError
from app.models import Prompt, Run
from tests.factories import make_comparison, make_run

Prefloop = Callable[..., str]


@pytest.fixture
def prefloop(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Prefloop:
    """`prefloop(*words, **environment)`: what the command prints, or else how it ends."""

    def run(*words: str, **env: str) -> str:
        for name in [name for name in os.environ if name.startswith("PREFLOOP_")]:
            monkeypatch.delenv(name)
        for name, value in ({"PREFLOOP_HOME": str(tmp_path)} | env).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["prefloop", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        if ended.value.code:
            assert isinstance(ended.value.code, str), "one sentence and exit code 1"
            return ended.value.code
        return capsys.readouterr().out

    return run


def test_prompts_a_run_and_a_labeler_from_the_command_line(
    prefloop: Prefloop, session: Session, database_url: str, tmp_path: Path
) -> None:
    env = {"PREFLOOP_DATABASE_URL": database_url}
    (tmp_path / "mine.txt").write_text("".join(f"Story {n}\n" for n in range(200)))
    done = prefloop("import-prompts", str(tmp_path / "mine.txt"), "--set", "mine", **env)
    assert "200 prompts added to mine" in done
    assert "0 known already" in done
    assert session.scalar(select(func.count(Prompt.id))) == 200

    changes = ["--set", "prompt_set=mine", "--set", "ppo.batch=16"]
    done = prefloop("create-run", "first", "--model", "gpt2", *changes, **env)
    run = session.get_one(Run, UUID(done.strip()))
    assert (run.name, run.hparams["prompt_set"], run.hparams["ppo"]["batch"]) == ("first", "mine", 16)

    link = prefloop("create-labeler", "Ada", **env).strip()
    assert accounts.redeem_invite(session, link.rsplit("/", 1)[1]).name == "Ada"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create-run", "x", "--model", "gpt2", "--preset", "none"), "choose one of"),
        (("create-run", "x", "--model", "gpt2", "--set", "ppo"), "name=value"),
        (("create-labeler", "Ada"), "prefloop up"),
        (("simulate",), "ready.json"),
        (("simulate", "--ready-file", "none.json"), "none.json"),
        (("simulate", "--token", "t", "--rule", "none"), "vader"),
    ],
)
def test_what_goes_wrong_is_one_sentence(prefloop: Prefloop, words: tuple[str, ...], said: str) -> None:
    assert said in prefloop(*words)


def test_a_wrong_setting_is_named(prefloop: Prefloop) -> None:
    assert "PREFLOOP_PORT" in prefloop("up", PREFLOOP_PORT="many")


def test_an_empty_database_says_what_to_run(
    prefloop: Prefloop, database_url: str, session: Session, tmp_path: Path
) -> None:
    session.connection().exec_driver_sql("drop table prompt cascade")
    session.commit()
    env = {"PREFLOOP_DATABASE_URL": database_url}
    (tmp_path / "mine.txt").write_text("One\n")
    done = prefloop("import-prompts", str(tmp_path / "mine.txt"), "--set", "mine", **env)
    assert "prefloop migrate" in done


def test_a_file_that_is_no_ready_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    path.write_text(json.dumps({"url": "http://x"}))
    assert cli.read_ready_file(path) == {"url": "http://x"}
    path.write_text("{")
    with pytest.raises(InvalidError, match="not a ready file"):
        cli.read_ready_file(path)


def test_the_site_and_its_command_load_no_torch() -> None:
    program = (
        "import sys, app.main, app.cli; print([m for m in sys.modules if m.split('.')[0] in ('torch', 'workers')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_site_moves_to_another_machine_where_nothing_runs_yet(
    prefloop: Prefloop, session: Session, database_url: str, tmp_path: Path, servers_dir: Path
) -> None:
    make_comparison(session, make_run(session))
    session.commit()
    env, place = {"PREFLOOP_DATABASE_URL": database_url}, str(tmp_path / "backups")
    assert "Backed up as " in prefloop("backup", place, "--keep", "1", **env)
    assert "is not empty" in prefloop("restore", place, **env)

    home = servers_dir / "moved"
    home.mkdir(mode=0o711)
    there = {"PREFLOOP_HOME": str(home)}
    assert "Restored " in prefloop("restore", place, **there)
    assert "is not empty" in prefloop("restore", place, **there)
    done = prefloop("backup", place, **there)
    assert "Backed up as " in done, "the server was started for it"
    name = done.split("Backed up as ")[1].split(":")[0]
    assert len(prefloop("backups", place, **env).splitlines()) == 2
    assert "Every byte is as it was written." in prefloop("backups", place, "--backup", name, "--verify", **env)
    assert "is no name of a backup" in prefloop("backups", place, "--backup", "../x", **env)


def test_a_home_folder_that_is_not_there_is_not_made_by_a_backup(prefloop: Prefloop, tmp_path: Path) -> None:
    assert "There is no folder" in prefloop("backup", str(tmp_path), PREFLOOP_HOME=str(tmp_path / "typo"))
    assert not (tmp_path / "typo").exists()
