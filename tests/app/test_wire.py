"""Asking PostgreSQL in one call: the same values, errors and transactions as by psycopg's own way."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from app.wire import Wire

VALUES: dict[str, Any] = {
    "uuid": UUID(int=7),
    "uuids": [UUID(int=1), UUID(int=2)],
    "none": [],
    "small": 7,
    "big": 2**40,
    "real": 0.5,
    "yes": True,
    "nothing": None,
    "words": "it's 100 % \\ 'quoted' — née",
    "time": datetime(2026, 1, 2, 3, 4, 5, 678, UTC),
}
ECHO = """
    select %(uuid)s, %(uuids)s::uuid[], %(none)s::uuid[], %(small)s, %(big)s, %(real)s, %(yes)s, %(nothing)s::text,
        %(words)s::text, %(time)s, jsonb_build_object('a', %(words)s::text), array[%(words)s::text, null], %(small)s + 1
"""


@pytest.fixture
def wire(engine: Engine) -> Iterator[Wire]:
    """The connection of an engine, as `app.hot` gets it."""
    with engine.connect() as connection:
        found = connection.connection.driver_connection
        assert isinstance(found, Wire)
        yield found


def test_values_go_and_come_as_psycopg_has_them(wire: Wire) -> None:
    asked = wire.ask(ECHO, VALUES)
    assert asked == wire.execute(ECHO.replace("% ", "%% "), VALUES).fetchall()
    assert asked[0][:10] == tuple(VALUES.values())


def test_a_statement_is_prepared_once_for_each_set_of_types(wire: Wire) -> None:
    for number in (1, 2, 3, 2**40, None):
        assert wire.ask("select %(number)s::bigint", {"number": number}) == [(number,)]
    prepared = wire.execute("select count(*) from pg_prepared_statements where name like 'asked%'").fetchone()
    assert prepared == (3,)


def test_what_was_prepared_outlives_a_transaction_and_its_tables(wire: Wire) -> None:
    for number in (1, 2, 3):
        wire.ask("create table note (number integer)", {})
        for ask in (wire.ask, wire.execute):
            ask("insert into note values (%(number)s)", {"number": number})
        assert wire.ask("select * from note", {}) == wire.execute("select * from note").fetchall() == [(number,)] * 2
        wire.rollback()
        assert wire.pgconn.transaction_status == TransactionStatus.IDLE
    ((asked,),) = wire.ask("select count(*) from pg_prepared_statements where name like 'asked_' || '%'", {})
    assert asked == 4


@pytest.mark.parametrize(
    "dropping", ["rollback to savepoint here", "drop table note", "alter table note add more text"]
)
def test_it_goes_on_where_psycopg_forgets_all_that_was_prepared(wire: Wire, dropping: str) -> None:
    wire.execute("create table note (number integer)")
    for _ in range(2):
        for number in (1, 2, 3):
            assert wire.ask("select %(number)s + 1", {"number": number}) == [(number + 1,)]
            assert wire.execute("select %(number)s + 1", {"number": number}).fetchall() == [(number + 1,)]
        wire.execute("savepoint here")
        wire.execute(dropping)
        wire.execute("create table if not exists note (number integer)")
        wire.execute("alter table note drop column if exists more")


def test_a_server_that_forgot_costs_one_transaction(wire: Wire) -> None:
    assert wire.ask("select 1", {}) == [(1,)]
    wire.pgconn.exec_(b"deallocate all")
    with pytest.raises(psycopg.errors.InvalidSqlStatementName):
        wire.ask("select 1", {})
    wire.rollback()
    assert wire.ask("select 1", {}) == [(1,)]


def test_a_transaction_begins_by_itself_and_ends_when_told(wire: Wire) -> None:
    wire.ask("create table note (text text)", {})
    assert wire.pgconn.transaction_status == TransactionStatus.INTRANS
    wire.commit()
    assert wire.pgconn.transaction_status == TransactionStatus.IDLE
    wire.commit()  # nothing to end
    wire.ask("insert into note values (%(text)s)", {"text": "one"})
    wire.rollback()
    assert wire.execute("select * from note").fetchall() == wire.ask("select * from note", {}) == []
    wire.ask("insert into note values (%(text)s)", {"text": "two"})
    wire.commit()
    assert wire.ask("select * from note", {}) == [("two",)]


def test_errors_are_those_of_psycopg_and_end_no_more_than_the_transaction(wire: Wire) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero, match="division by zero"):
        wire.ask("select 1 / %(number)s", {"number": 0})
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        wire.ask("select 1", {})
    wire.rollback()
    with pytest.raises(psycopg.errors.UndefinedTable):
        wire.ask("select * from nowhere", {})
    wire.rollback()
    assert wire.ask("select 1 / %(number)s", {"number": 1}) == [(1,)]


def test_a_commit_after_an_error_says_that_nothing_was_saved(wire: Wire, engine: Engine) -> None:
    wire.ask("create table note (text text)", {})
    wire.commit()
    wire.ask("insert into note values ('lost')", {})
    with pytest.raises(psycopg.errors.DivisionByZero):
        wire.ask("select 1 / 0", {})
    with pytest.raises(psycopg.errors.InFailedSqlTransaction, match="nothing was saved"):
        wire.commit()
    assert wire.pgconn.transaction_status == TransactionStatus.IDLE
    assert wire.ask("select count(*) from note", {}) == [(0,)]
    wire.rollback()
    with engine.connect() as connection:  # by SQLAlchemy's way
        with pytest.raises(DBAPIError):
            connection.exec_driver_sql("select 1 / 0")
        with pytest.raises(DBAPIError, match="nothing was saved"):
            connection.commit()


def test_a_commit_that_fails_says_so(wire: Wire) -> None:
    wire.ask("create table one (id integer unique deferrable initially deferred)", {})
    wire.commit()
    wire.ask("insert into one values (1), (1)", {})
    with pytest.raises(psycopg.errors.UniqueViolation):
        wire.commit()
    assert wire.ask("select count(*) from one", {}) == [(0,)]


def test_a_connection_that_was_ended_is_closed(wire: Wire, engine: Engine) -> None:
    ((mine,),) = wire.ask("select pg_backend_pid()", {})
    with engine.connect() as other:
        other.exec_driver_sql(f"select pg_terminate_backend({mine}, 5000)")
    with pytest.raises(psycopg.OperationalError):
        wire.ask("select 1", {})
    assert wire.closed
    with pytest.raises(psycopg.OperationalError):
        wire.ask("select 1", {})
