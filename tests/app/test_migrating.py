"""Migrations on real PostgreSQL: up gives the tables of the models, down removes all, several at once are one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import ProgrammingError

from app import accounts, labeling, migrating, people
from app.db import make_engine, make_session_factory
from app.embedded import SUPERUSER
from app.errors import ConflictError
from app.limiting import Limiter
from app.models import Base, Role, Verdict
from tests.factories import make_account, make_comparison, make_run


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


def test_a_server_without_what_leases_need_is_refused_and_left_alone(engine: Engine) -> None:
    before = tables(engine)
    with engine.begin() as connection:
        assert connection.scalar(text("select uuidv7()")) is not None
        connection.dialect.server_version_info = (17, 6)
        with pytest.raises(ConflictError, match=r"PostgreSQL 17\.6, but Prefloop needs 18 or later"):
            migrating.within(connection, migrating.DOWN, "base")
    assert tables(engine) == before


def test_processes_that_start_together_migrate_once(database_url: str, engine: Engine) -> None:
    migrating.downgrade(engine, "base")

    def start(_: int) -> None:
        own = make_engine(database_url, pool_size=1)
        migrating.upgrade(own)
        own.dispose()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(4)))
    assert "label" in tables(engine)


@pytest.fixture
def site(database_url: str, engine: Engine) -> Iterator[Engine]:
    """An engine as the role of the site."""
    url = database_url.replace(f"//{SUPERUSER}@", "//site_of_the_tests:its%20password@")
    for _ in range(2):  # as at every start
        migrating.let_in(engine, url)
    made = make_engine(url, pool_size=1)
    yield made
    made.dispose()


def refused(engine: Engine, statement: str) -> str:
    """Why a statement is refused."""
    with pytest.raises(ProgrammingError) as error, engine.begin() as connection:
        connection.execute(text(statement))
    return str(error.value.orig)


ACT = "insert into audit (id, action, detail) values (gen_random_uuid(), 'run.paused', '{}')"
CHANGES = ("update audit set action = 'nothing'", "delete from audit", "truncate audit")


def test_the_role_of_the_site_adds_to_the_audit_log_and_cannot_change_it(site: Engine) -> None:
    with site.begin() as connection:
        connection.execute(text(ACT))
        assert connection.scalar(text("select count(*) from audit")) == 1
    for change in CHANGES:
        assert "permission denied" in refused(site, change)
    for detour in ("drop trigger audit_is_only_added_to on audit", "alter table audit disable trigger all"):
        assert "must be owner" in refused(site, detour)
    assert "permission denied" in refused(site, "create table mine (id int)")
    assert "permission denied" in refused(site, "update alembic_version set version_num = '0001'")
    assert "replication_role" in refused(site, "set session_replication_role = replica")


def test_not_even_the_owner_changes_the_audit_log_by_mistake(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text(ACT))
    for change in CHANGES:
        assert "only ever added to" in refused(engine, change)


def test_the_site_works_as_its_own_role(site: Engine) -> None:
    with make_session_factory(site)() as session:
        run = make_run(session)
        ada = make_account(session)
        make_comparison(session, run)
        assert accounts.access_of_session(session, accounts.open_session(session, ada.id, days=1)) is not None
        (lease,) = labeling.lease(session, ada.id, run.id, count=1, lease_seconds=60)
        labeling.record(session, ada.id, lease.comparison_id, verdict=Verdict.TIE, choice=None, key="k")
        people.disable(session, make_account(session, role=Role.OPERATOR), ada.id)
        session.flush()
    limiter = Limiter(site, labels_per_minute=1)
    limiter.sign_in("10.0.0.1", "ada")
