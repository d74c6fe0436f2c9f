"""A brief session: what the wire and SQLAlchemy write is one transaction, and a connection comes back whole or not."""

from contextlib import suppress
from uuid import uuid4

import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, event, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import Session

from app import hot, jobs
from app.brief import Brief
from app.db import SessionFactory, brief_scope, make_engine, make_session_factory
from app.errors import ConflictError
from app.models import Account, Role

INSERT = "insert into account (id, name, role) values (%(id)s, %(name)s, 'labeler')"
END = "select pg_terminate_backend(pg_backend_pid())"


def named(session: Session, *names: str) -> None:
    """Accounts, written on the wire."""
    for name in names:
        hot.write(session, INSERT, id=uuid4(), name=name)


def names(factory: SessionFactory) -> list[str]:
    with factory() as session:
        return sorted(session.scalars(select(Account.name)))


def test_the_wire_alone_needs_no_transaction_of_sqlalchemys(session_factory: SessionFactory) -> None:
    with brief_scope(session_factory) as session:
        named(session, "Ada")
        assert not session.in_transaction()
    assert names(session_factory) == ["Ada"]


def test_wire_and_session_write_one_transaction(session_factory: SessionFactory) -> None:
    with brief_scope(session_factory) as session:
        named(session, "Ada")
        assert session.scalars(select(Account.name)).all() == ["Ada"]
        session.add(Account(name="Bob", role=Role.LABELER))
        assert hot.rows(session, "select count(*) from account") == [(2,)]  # what the session held back is written
        assert names(session_factory) == []
    assert names(session_factory) == ["Ada", "Bob"]


def refused(factory: SessionFactory, *, asks_sqlalchemy: bool) -> None:
    with brief_scope(factory) as session:
        named(session, "Ada")
        if asks_sqlalchemy:
            session.add(Account(name="Bob", role=Role.LABELER))
            session.flush()
        jobs.wake_run(session, uuid4())
        raise ConflictError("no")


def swallowed(factory: SessionFactory) -> None:
    """An error of PostgreSQL that somebody takes for none."""
    with brief_scope(factory) as session:
        named(session, "Ada")
        with suppress(DBAPIError):
            hot.rows(session, "select 1 / 0")


def cut(factory: SessionFactory, *, asks_sqlalchemy: bool) -> None:
    with brief_scope(factory) as session:
        if asks_sqlalchemy:
            session.execute(text("select 1"))
        hot.rows(session, END)


@pytest.mark.parametrize("asks_sqlalchemy", [False, True])
def test_an_error_undoes_both_and_the_connection_serves_again(
    database_url: str, session_factory: SessionFactory, asks_sqlalchemy: bool
) -> None:
    engine = make_engine(database_url, pool_size=1)
    factory = make_session_factory(engine)
    with pytest.raises(ConflictError):
        refused(factory, asks_sqlalchemy=asks_sqlalchemy)
    with pytest.raises(IntegrityError), brief_scope(factory) as session:
        hot.write(session, INSERT, id=uuid4(), name=None)
    with pytest.raises(DBAPIError, match="nothing was saved"):
        swallowed(factory)
    assert names(session_factory) == []
    with brief_scope(factory) as session:
        assert isinstance(session, Brief)
        assert session.wire.pgconn.transaction_status == TransactionStatus.IDLE
        named(session, "Ada")
    assert names(session_factory) == ["Ada"]
    engine.dispose()


@pytest.mark.parametrize("asks_sqlalchemy", [False, True])
def test_a_connection_that_broke_is_replaced(database_url: str, asks_sqlalchemy: bool) -> None:
    engine = make_engine(database_url, pool_size=1, trusted_seconds=60)
    made: list[object] = []
    event.listen(engine, "connect", lambda connection, _: made.append(connection))
    factory = make_session_factory(engine)
    with pytest.raises(OperationalError):
        cut(factory, asks_sqlalchemy=asks_sqlalchemy)
    with brief_scope(factory) as session:
        named(session, "Ada")
    assert len(made) == 2
    assert names(factory) == ["Ada"]
    engine.dispose()


def test_no_server_is_an_operational_error() -> None:
    nowhere = make_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    with pytest.raises(OperationalError), brief_scope(make_session_factory(nowhere)):
        pass


def test_messages_leave_after_the_commit_and_only_then(engine: Engine) -> None:
    sent: list[jobs.Message] = []
    seen: list[list[str]] = []

    def send(messages: list[jobs.Message]) -> None:
        sent.extend(messages)
        seen.append(names(make_session_factory(engine)))

    factory = make_session_factory(engine, send)
    with brief_scope(factory) as session:
        named(session, "Ada")
        jobs.wake_run(session, uuid4())
    assert (len(sent), seen) == (1, [["Ada"]])
    with pytest.raises(ConflictError):
        refused(factory, asks_sqlalchemy=False)
    assert len(sent) == 1
