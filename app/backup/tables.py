"""Rows of all tables out of one snapshot, and back into an empty database: COPY, with any PostgreSQL server."""

import gzip
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Engine, text

from app.backup.place import CHUNK_BYTES, Counted, Summed

VERSION_TABLE = "alembic_version"
COMPRESSION = 3
PORTABLE = (
    "set local timezone to 'UTC'",
    "set local datestyle to 'ISO'",
    "set local intervalstyle to 'postgres'",
    "set local extra_float_digits to 3",
    "set local bytea_output to 'hex'",
    "set local statement_timeout to 0",
    "set local idle_in_transaction_session_timeout to 0",
)
"""The same text for the same row whatever the server is set to, and no end before the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    """A constraint that is left out while rows come in, for tables name each other in circles."""

    table: str
    name: str
    definition: str


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A read-only transaction that sees the database as of its start."""
    isolated = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with isolated.connect() as connection, connection.begin():
        _make_portable(connection)
        yield connection


def names(connection: Connection) -> list[str]:
    """Tables whose rows are kept: all but the version of the schema and what PostgreSQL itself forgets in a crash."""
    found = connection.scalars(
        text(
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') "
            "and not relispartition and relpersistence = 'p' and relname <> :version order by relname"
        ),
        {"version": VERSION_TABLE},
    )
    return list(found)


def lock(connection: Connection) -> None:
    """Keep everybody else out until the transaction ends."""
    for name in names(connection):
        _execute(connection, [sql.SQL("lock table {}").format(sql.Identifier(name))])


def columns(connection: Connection, table: str) -> tuple[str, ...]:
    """Columns that are stored, not computed from others."""
    found = connection.scalars(
        text(
            "select attname from pg_attribute where attrelid = cast(:table as regclass) and attnum > 0 "
            "and not attisdropped and attgenerated = '' order by attnum"
        ),
        {"table": sql.Identifier(table).as_string(None)},
    )
    return tuple(found)


def revision(connection: Connection) -> str | None:
    """Of the schema; None if there is none."""
    if connection.scalar(text("select to_regclass('public.alembic_version')")) is None:
        return None
    found: str | None = connection.scalar(text(f"select version_num from {VERSION_TABLE}"))
    return found


def dump(connection: Connection, table: str, wanted: Sequence[str], out: Counted) -> int:
    """Write all rows of a table, compressed; how many there were."""
    query = sql.SQL("copy (select {} from {}) to stdout").format(_listed(wanted), sql.Identifier(table))
    packing = gzip.GzipFile(fileobj=out, mode="wb", compresslevel=COMPRESSION, mtime=0)
    with packing as packed, _driver(connection).cursor() as cursor:
        with cursor.copy(query) as copy:
            for block in copy:
                packed.write(block)
        return cursor.rowcount


def load(connection: Connection, table: str, given: Sequence[str], packed: Summed) -> int:
    """Add the rows that `dump` wrote; how many there were. What triggers would do has been done already."""
    name = sql.Identifier(table)
    query = sql.SQL("copy {} ({}) from stdin").format(name, _listed(given))
    with _driver(connection).cursor() as cursor:
        cursor.execute(sql.SQL("alter table {} disable trigger user").format(name))
        with gzip.GzipFile(fileobj=packed, mode="rb") as rows, cursor.copy(query) as copy:
            while block := rows.read(CHUNK_BYTES):
                copy.write(block)
        loaded = cursor.rowcount
        cursor.execute(sql.SQL("alter table {} enable trigger user").format(name))
        return loaded


@contextmanager
def without_foreign_keys(connection: Connection) -> Iterator[None]:
    """Take the foreign keys away for the block, and check all rows against them when they come back."""
    _make_portable(connection)
    keys = _foreign_keys(connection)
    _execute(connection, (_drop(key) for key in keys))
    yield
    _execute(connection, (_add(key) for key in keys))


def set_counters(connection: Connection) -> None:
    """Let every sequence that numbers a column go on after the largest number there is."""
    owned = connection.execute(
        text(
            "select s.oid::regclass::text as sequence, t.relname as table, a.attname as column from pg_depend d "
            "join pg_class s on s.oid = d.objid and s.relkind = 'S' join pg_class t on t.oid = d.refobjid "
            "join pg_attribute a on a.attrelid = t.oid and a.attnum = d.refobjsubid "
            "where t.relnamespace = 'public'::regnamespace and d.deptype in ('a', 'i')"
        )
    )
    for sequence, table, column in owned.all():
        largest = sql.SQL("select setval({}, coalesce(max({}), 0) + 1, false) from {}").format(
            sql.Literal(sequence), sql.Identifier(column), sql.Identifier(table)
        )
        _execute(connection, [largest])


def _foreign_keys(connection: Connection) -> list[ForeignKey]:
    found = connection.execute(
        text(
            "select t.relname, c.conname, pg_get_constraintdef(c.oid) from pg_constraint c "
            "join pg_class t on t.oid = c.conrelid "
            "where c.contype = 'f' and c.conparentid = 0 and t.relnamespace = 'public'::regnamespace"
        )
    )
    return [ForeignKey(table=table, name=name, definition=definition) for table, name, definition in found.all()]


def _drop(key: ForeignKey) -> sql.Composed:
    return sql.SQL("alter table {} drop constraint {}").format(sql.Identifier(key.table), sql.Identifier(key.name))


def _add(key: ForeignKey) -> sql.Composed:
    statement = sql.SQL("alter table {} add constraint {} ").format(sql.Identifier(key.table), sql.Identifier(key.name))
    return statement + sql.SQL(key.definition)  # PostgreSQL's own words


def _make_portable(connection: Connection) -> None:
    for setting in PORTABLE:
        connection.execute(text(setting))


def _execute(connection: Connection, statements: Iterable[sql.Composed]) -> None:
    with _driver(connection).cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _listed(wanted: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, wanted))


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver
