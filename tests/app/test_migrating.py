"""Migrations on real PostgreSQL: up gives the tables of the models, down removes all, several at once are one."""

from concurrent.futures import ThreadPoolExecutor

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect

from app import migrating
from app.db import make_engine
from app.models import Base


def tables(engine: Engine) -> set[str]:
    """Tables there are."""
    return set(inspect(engine).get_table_names())


def test_the_migrated_database_is_what_the_models_say(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_down_removes_everything_and_up_brings_it_back(engine: Engine) -> None:
    before = tables(engine)
    migrating.downgrade(engine, "base")
    assert tables(engine) == {"alembic_version"}
    migrating.upgrade(engine)
    assert tables(engine) == before


def test_each_step_goes_down_and_up_again(engine: Engine) -> None:
    steps = [script.revision for script in ScriptDirectory.from_config(migrating.config()).walk_revisions()]
    for revision in steps[1:]:
        migrating.downgrade(engine, revision)
        migrating.upgrade(engine)
    with engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == steps[0]


def test_processes_that_start_together_migrate_once(database_url: str, engine: Engine) -> None:
    migrating.downgrade(engine, "base")

    def start(_: int) -> None:
        own = make_engine(database_url, pool_size=1)
        migrating.upgrade(own)
        own.dispose()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(4)))
    assert "label" in tables(engine)
