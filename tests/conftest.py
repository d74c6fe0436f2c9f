"""Real PostgreSQL and Valkey for the tests, started once and only when a test asks."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app import migrating
from app.db import SessionFactory, make_engine, make_session_factory
from app.embedded import Postgres, Valkey
from app.supervisor import Supervisor

TEMPLATE = "template_prefloop"
_numbers = itertools.count()


@pytest.fixture(scope="session")
def servers_dir() -> Iterator[Path]:
    """A folder with a short name that any account can reach, as sockets and a PostgreSQL started by root need."""
    made = Path(tempfile.mkdtemp(prefix="prefloop-test-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)  # a server of a failed test may still be on its way out


@pytest.fixture(scope="session")
def postgres(servers_dir: Path) -> Iterator[Postgres]:
    """A server that holds one migrated database to copy."""
    server = Postgres(data=servers_dir / "postgres", durable=False)
    supervisor = Supervisor(servers_dir / "logs", print)
    server.prepare()
    supervisor.start(server.child())
    try:
        supervisor.wait("postgres", server.is_ready)
        server.ensure_database(TEMPLATE)
        engine = make_engine(server.url(TEMPLATE), pool_size=1)
        migrating.upgrade(engine)
        engine.dispose()
        yield server
    finally:
        supervisor.stop()


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """A migrated, empty database of this test's own."""
    name = f"test_{next(_numbers)}"
    with postgres.connect() as connection:
        connection.execute(f"create database {name} template {TEMPLATE}".encode())
    yield postgres.url(name)
    with postgres.connect() as connection:
        connection.execute(f"drop database {name} with (force)".encode())


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on this test's database."""
    made = make_engine(database_url)
    yield made
    made.dispose()


@pytest.fixture
def session_factory(engine: Engine) -> SessionFactory:
    """Sessions as the application makes them; messages for the broker go nowhere, as while the broker is dead."""
    return make_session_factory(engine)


@pytest.fixture
def session(session_factory: SessionFactory) -> Iterator[Session]:
    """One session; what it did not commit is rolled back at the end."""
    with session_factory() as made:
        yield made


@pytest.fixture(scope="session")
def valkey(servers_dir: Path) -> Iterator[Valkey]:
    """A broker."""
    server = Valkey(data=servers_dir / "valkey")
    supervisor = Supervisor(servers_dir / "logs", print)
    server.prepare()
    supervisor.start(server.child())
    try:
        supervisor.wait("valkey", server.is_ready)
        yield server
    finally:
        supervisor.stop()


@pytest.fixture
def broker_url(valkey: Valkey) -> str:
    """URL of an empty broker."""
    with valkey.connect() as client:
        client.flushall()
    return valkey.url


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium for browser tests. Without one they are skipped, but not under CI."""
    found = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
    if not found:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Chromium on this machine")
    return found[0]
