"""The doctor finds what is broken, says how to mend it, and finds nothing wrong where nothing is."""

from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app import doctor
from app.doctor import Finding, Health
from app.settings import Settings


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
    assert (seen["workers"].health, seen["address"].health) == (Health.ODD, Health.BAD), "nobody runs them here"


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
