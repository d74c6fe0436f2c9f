"""Sites to back up and to restore into, for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from app.backup import Place, Site, tables
from app.db import make_engine
from app.embedded import Postgres

_numbers = count()


def site(engine: Engine, home: Path) -> Site:
    """A site with its checkpoints in its home folder."""
    home.mkdir(exist_ok=True)
    return Site(engine=engine, home=home, store=Place(str(home / "checkpoints")))


@contextmanager
def empty_database(postgres: Postgres) -> Iterator[str]:
    """URL of a database without tables."""
    name = f"restored_{next(_numbers)}"
    postgres.ensure_database(name)
    try:
        yield postgres.url(name)
    finally:
        with postgres.connect() as connection:
            connection.execute(f"drop database {name} with (force)".encode())


@contextmanager
def empty_site(postgres: Postgres, home: Path) -> Iterator[Site]:
    """A site without tables and files."""
    with empty_database(postgres) as url:
        engine = make_engine(url, pool_size=2)
        yield site(engine, home)
        engine.dispose()


def sums(connection: Connection) -> dict[str, tuple[int, int]]:
    """Of each table the rows and a sum that does not ask for their order."""
    found = {}
    for name in tables.names(connection):
        query = f'select count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) from "{name}" t'
        rows, total = connection.execute(text(query)).one()
        found[name] = (rows, int(total))
    return found


def sums_of(engine: Engine) -> dict[str, tuple[int, int]]:
    """The same of the whole database now."""
    with engine.begin() as connection:
        connection.execute(text("set local timezone to 'UTC'"))
        return sums(connection)


def revision_of(engine: Engine) -> str | None:
    """Of the schema."""
    with engine.begin() as connection:
        return tables.revision(connection)
