"""The doctor finds what is broken, says how to mend it, and finds nothing wrong where nothing is."""

from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.orm import Session

from app import doctor
from app.doctor import Finding, Health
from app.models import CheckpointKind, Worker
from app.settings import Settings
from tests.factories import make_checkpoint, make_run


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(home=tmp_path, database_url=database_url, broker_url=None, public_url=None, port=9)


def found(settings: Settings) -> dict[str, Finding]:
    return {one.part: one for one in doctor.examine(settings)}


def test_a_whole_database_and_broker_are_well(settings: Settings, broker_url: str) -> None:
    seen = found(settings.model_copy(update={"broker_url": broker_url}))
    assert {
        part for part in ("database", "schema", "clock", "broker", "jobs") if seen[part].health != Health.OK
    } == set()
    assert (seen["workers"].health, seen["address"].health) == (Health.BAD, Health.BAD), "nobody runs them here"


def test_workers_that_are_missing_or_silent_are_named(settings: Settings, session: Session) -> None:
    session.add(Worker(name="box:trainer", queues=["sampling", "reward", "policy"], memory_bytes=1))
    session.commit()
    assert found(settings)["workers"].said == "1 alive; none serves control"
    session.add(Worker(name="box:control", queues=["control"], memory_bytes=1))
    session.add(Worker(name="old:trainer", queues=["sampling"], memory_bytes=1))
    session.commit()
    session.execute(text("update worker set seen_at = now() - interval '1 hour' where name = 'old:trainer'"))
    session.commit()
    seen = found(settings)["workers"]
    assert (seen.health, seen.said[:33]) == (Health.ODD, "2 alive; silent: old:trainer for ")


def test_a_shared_store_is_looked_at_where_it_is(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "place" / "digest").mkdir(parents=True)
    (tmp_path / "place" / "digest" / "manifest.json").touch()
    there = settings.model_copy(update={"store": f"file://{tmp_path / 'place'}"})
    assert found(there)["checkpoints"].said == f"1 at file://{tmp_path / 'place'}"
    nowhere = settings.model_copy(update={"store": "nothing-known://place"})
    assert (found(nowhere)["checkpoints"].health, bool(found(nowhere)["checkpoints"].mend)) == (Health.BAD, True)


@pytest.mark.parametrize("shared", [False, True])
def test_checkpoints_that_a_run_needs_and_nobody_has_are_counted(
    settings: Settings, session: Session, tmp_path: Path, shared: bool
) -> None:
    place = tmp_path / "place" if shared else settings.checkpoints_dir
    there = settings.model_copy(update={"store": f"file://{place}"}) if shared else settings
    run = make_run(session)
    run.serving_id = make_checkpoint(session, run, digest="policy").id
    run.reward_model_id = make_checkpoint(session, run, kind=CheckpointKind.REWARD_MODEL, digest="reward").id
    make_checkpoint(session, run, number=1, digest="nobody's")
    session.commit()
    for digest in ("policy", "of another site"):
        (place / digest).mkdir(parents=True)
        (place / digest / "manifest.json").touch()
    seen = found(there)["checkpoints"]
    assert (seen.health, "2 " in seen.said, "; 1 of 2 that" in seen.said) == (Health.BAD, True, True)
    (place / "reward").mkdir()
    (place / "reward" / "manifest.json").touch()
    assert found(there)["checkpoints"].health == Health.OK


def test_a_server_too_old_is_named(settings: Settings) -> None:
    def older(connection: Connection) -> None:
        connection.dialect.server_version_info = (17, 6)

    event.listen(Engine, "engine_connect", older)
    try:
        seen = found(settings)["database"]
    finally:
        event.remove(Engine, "engine_connect", older)
    assert (seen.health, "needs 18 or later" in seen.mend) == (Health.BAD, True)
    assert found(settings)["database"].health == Health.OK


def test_an_old_schema_and_missing_parts_are_named_with_their_remedy(settings: Settings, session: Session) -> None:
    session.execute(text("update alembic_version set version_num = '0001'"))
    session.commit()
    seen = found(settings)
    assert (seen["schema"].health, seen["schema"].mend) == (Health.BAD, "Run `prefloop migrate`.")
    assert seen["broker"].health == Health.BAD
    assert all(one.mend for one in seen.values() if one.health == Health.BAD and one.part != "workers")


def test_a_database_that_is_gone_is_one_finding(settings: Settings) -> None:
    seen = found(settings.model_copy(update={"database_url": "postgresql+psycopg://nobody@/none?host=/nowhere"}))
    assert seen["database"].health == Health.BAD
    assert "schema" not in seen


def test_plain_http_to_the_world_is_odd(settings: Settings) -> None:
    seen = found(settings.model_copy(update={"public_url": "http://label.example"}))
    assert "HTTPS" in seen["address"].mend
