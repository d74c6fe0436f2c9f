"""The commands that carry data: what they say of bad rows, where their files lie."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner, Result

from app.db import SessionFactory, session_scope
from app.errors import InvalidError
from app.models import Checkpoint, Label, Prompt
from tests.factories import make_run
from tests.tiny import save_tiny_model
from workers.cli import app
from workers.models import weights_digest

GOOD = [{"prompt": "the sun", "samples": [" sun.", " rain.", " home.", f" door {n}."], "best": n % 4} for n in range(6)]
BAD = [
    {"prompt": "the sun", "samples": [" sun.", " rain."], "best": 0},
    {"prompt": "the sun", "samples": [], "best": 0},
]


@pytest.fixture(autouse=True)
def _site(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFLOOP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFLOOP_DATABASE_URL", database_url)


@pytest.fixture
def run(session_factory: SessionFactory, tmp_path: Path) -> str:
    base = save_tiny_model(tmp_path / "tiny")
    with session_scope(session_factory) as session:
        made = make_run(session, base_model=str(base))
        session.get_one(Checkpoint, made.reference_id).digest = weights_digest(base)
        return str(made.id)


def typed(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def lines(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def count(factory: SessionFactory, table: type[Prompt | Label]) -> int:
    with session_scope(factory) as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_bad_rows_of_prompts_are_named_and_stop_or_are_left_out(
    session_factory: SessionFactory, tmp_path: Path
) -> None:
    path = lines(tmp_path / "posts.jsonl", [{"text": "One came."}, {"text": 5}, {"other": "x"}, {"text": "Two came."}])
    asked = ("import-prompts", path, "--set", "mine")
    refused = typed(*asked)
    assert isinstance(refused.exception, InvalidError)
    for said in ("2 of 4", "posts.jsonl, line 2: its text is int", "posts.jsonl, line 3: no text"):
        assert said in str(refused.exception)
    assert count(session_factory, Prompt) == 0

    foretold = typed(*asked, "--dry-run").stdout
    assert "posts.jsonl, line 2: its text is int, not a string" in foretold
    assert "2 prompts would be added to mine" in foretold
    assert count(session_factory, Prompt) == 0

    assert "2 prompts added to mine" in typed(*asked, "--keep-good").stdout
    assert count(session_factory, Prompt) == 2


def test_bad_records_of_labels_are_named_and_stop_or_are_left_out(
    session_factory: SessionFactory, run: str, tmp_path: Path
) -> None:
    path = lines(tmp_path / "labels.jsonl", [*GOOD, *BAD])
    asked = ("import-labels", path, "--run", run)
    refused = typed(*asked)
    assert isinstance(refused.exception, InvalidError)
    for said in (
        "2 of 8 records are bad",
        "line 7: it compares 2 samples, but the run 4",
        "line 8: `samples` is no list",
    ):
        assert said in str(refused.exception)
    assert count(session_factory, Label) == 0
    assert "labels.jsonl, line 8" in typed(*asked, "--dry-run").stdout
    assert count(session_factory, Label) == 0
    assert "6 added, 0 known already" in typed(*asked, "--keep-good").stdout
    assert count(session_factory, Label) == 6


def test_labels_lie_where_they_were_asked_for_with_a_manifest_that_checks_them(run: str, tmp_path: Path) -> None:
    path, out = lines(tmp_path / "labels.jsonl", GOOD), tmp_path / "out"
    typed("import-labels", path, "--run", run)
    done = typed("export-labels", out, "--run", run, "--format", "best_of_4")
    assert "6 records in" in done.stdout
    assert (out / "labels.jsonl").read_bytes() == path.read_bytes()
    (file,) = json.loads((out / "manifest.json").read_text())["files"]
    assert file["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    wrong = typed("export-labels", out, "--run", run, "--scope", '{"split": ["train"]}')
    assert isinstance(wrong.exception, InvalidError)
    assert "--scope: ('split',)" in str(wrong.exception)


def test_a_model_goes_into_a_new_folder_alone(run: str, tmp_path: Path) -> None:
    refused = typed("export-model", tmp_path, "--run", run, "--kind", "reference")
    assert isinstance(refused.exception, InvalidError)
    assert "is there already: choose a new folder" in str(refused.exception)
    done = typed("export-model", tmp_path / "out", "--run", run, "--kind", "reference")
    assert done.exit_code == 0, done.output
    assert {"config.json", "model.safetensors", "README.md"} <= {path.name for path in (tmp_path / "out").iterdir()}
