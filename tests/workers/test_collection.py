"""What no row names is removed from the disk, rows first; what is named or young stays."""

from pathlib import Path

import pytest
import torch
from sqlalchemy import select
from typer.testing import CliRunner

from app import uploads
from app.db import SessionFactory, session_scope
from app.errors import InvalidError
from app.models import Checkpoint, JobState
from tests.factories import make_checkpoint, make_run
from tests.leftover_files import exported, uploaded
from workers import collection
from workers.checkpoints import CheckpointStore
from workers.cli import app


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path, reserve_bytes=0)


def saved(store: CheckpointStore, value: float) -> str:
    return store.save("policy", {"model": {"weight": torch.full((256,), value)}}, {})


def test_a_survey_removes_nothing_and_says_what_it_would_free(
    session_factory: SessionFactory, store: CheckpointStore
) -> None:
    served, forgotten = saved(store, 1.0), saved(store, 2.0)
    with session_scope(session_factory) as session:
        run = make_run(session)
        run.serving_id = make_checkpoint(session, run, digest=served).id
        make_checkpoint(session, run, number=1, digest=forgotten)
        make_checkpoint(session, run, number=2, digest=forgotten)  # equal weights are stored once
    garbage = collection.survey(session_factory, store)
    assert store.digests() == {served, forgotten}
    assert garbage.bytes == store.size(forgotten) > 1024
    assert [str(one) for one, _ in garbage.checkpoints] == ["policy 1 of stories", "policy 2 of stories"]

    done = collection.remove(session_factory, store, garbage)
    assert done == garbage
    assert store.digests() == {served}
    with session_factory() as session:
        gone = select(Checkpoint.number).where(Checkpoint.removed_at.is_not(None))
        assert set(session.scalars(gone)) == {1, 2}
    assert collection.survey(session_factory, store).bytes == 0


def test_what_a_run_came_to_serve_meanwhile_stays(session_factory: SessionFactory, store: CheckpointStore) -> None:
    digest = saved(store, 1.0)
    with session_scope(session_factory) as session:
        run = make_run(session)
        policy = make_checkpoint(session, run, digest=digest)
        run_id, policy_id = run.id, policy.id
    garbage = collection.survey(session_factory, store)
    with session_scope(session_factory) as session:
        session.get_one(type(run), run_id).serving_id = policy_id
    assert collection.remove(session_factory, store, garbage).checkpoints == ()
    assert store.digests() == {digest}


def test_files_without_a_row_go_when_they_are_old(session_factory: SessionFactory, store: CheckpointStore) -> None:
    digest = saved(store, 1.0)
    assert collection.survey(session_factory, store).orphans == (), "a job may be about to write its row"
    garbage = collection.survey(session_factory, store, orphan_seconds=0)
    assert garbage.orphans == ((digest, store.size(digest)),)
    collection.remove(session_factory, store, garbage)
    assert store.digests() == set()


def test_files_that_got_a_row_after_the_survey_stay(session_factory: SessionFactory, store: CheckpointStore) -> None:
    digest = saved(store, 1.0)
    garbage = collection.survey(session_factory, store, orphan_seconds=0)
    with session_scope(session_factory) as session:
        make_checkpoint(session, make_run(session), digest=digest)
    assert collection.remove(session_factory, store, garbage).orphans == ()
    assert store.digests() == {digest}


def test_the_command_lists_first_and_removes_when_told(
    session_factory: SessionFactory, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFLOOP_HOME", str(tmp_path))
    monkeypatch.setenv("PREFLOOP_DATABASE_URL", database_url)
    store = CheckpointStore(tmp_path / "checkpoints", reserve_bytes=0)
    digest = saved(store, 1.0)
    with session_scope(session_factory) as session:
        make_checkpoint(session, make_run(session), digest=digest)

    listed = CliRunner().invoke(app, ["gc"])
    assert listed.exit_code == 0, listed.output
    assert "policy 0 of stories" in listed.output
    assert "`prefloop gc --remove` removes them" in listed.output
    assert store.digests() == {digest}

    assert "Removed: 1 checkpoints" in CliRunner().invoke(app, ["gc", "--remove"]).output
    assert store.digests() == set()
    assert "nothing to remove" in CliRunner().invoke(app, ["gc"]).output


def test_the_command_lists_and_removes_old_uploads_and_exports_too(
    session_factory: SessionFactory, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("HOME", str(tmp_path)), ("DATABASE_URL", database_url), ("FILE_DAYS", "7")):
        monkeypatch.setenv(f"PREFLOOP_{name}", value)
    old, young = uploaded(tmp_path, "old.jsonl", days_ago=8), uploaded(tmp_path, "young.jsonl", days_ago=6)
    with session_scope(session_factory) as session:
        done = exported(session, tmp_path, JobState.DONE, days_ago=8)
        running = exported(session, tmp_path, JobState.RUNNING, days_ago=8)

    listed = CliRunner().invoke(app, ["gc"])
    assert listed.exit_code == 0, listed.output
    assert "(old.jsonl)" in listed.output
    assert f"export {done.name[:8]} (labels.jsonl)" in listed.output
    assert "young.jsonl" not in listed.output
    assert running.name[:8] not in listed.output
    assert "In all 0 checkpoints, 2 uploads and exports" in listed.output
    assert uploads.path_of(tmp_path, old).exists(), "it is only listed"

    assert "Removed: 0 checkpoints, 2 uploads and exports" in CliRunner().invoke(app, ["gc", "--remove"]).output
    with pytest.raises(InvalidError, match="upload the file again"):
        uploads.path_of(tmp_path, old)
    assert uploads.path_of(tmp_path, young).exists()
    assert (done.exists(), running.exists()) == (False, True)
    assert "nothing to remove" in CliRunner().invoke(app, ["gc"]).output
