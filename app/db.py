"""Engine and unit of work: one transaction per request or job step, then its messages leave."""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import structlog
from psycopg import OperationalError
from sqlalchemy import ColumnElement, Engine, Uuid, any_, cast, create_engine, event
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.orm import InstrumentedAttribute, Session, sessionmaker

from app import jobs, wire
from app.brief import Brief, translated

log = structlog.get_logger()

SessionFactory = sessionmaker[Session]
Sender = Callable[[list[jobs.Message]], None]
"""Hands messages to the broker. It must return quickly and may raise: the transaction has committed by then."""

POOL_SIZE = 40
"""Connections per process: as many as the web server has request threads, so that none waits for a connection."""

KEEPALIVE = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
"""In seconds. Half a minute after a host was cut off, both ends know: else the server would keep its locks for hours,
and the host would wait for an answer as long."""
UNHEARD = {"tcp_user_timeout": 30_000}
"""In milliseconds: the same where something was on its way to the host that was cut off, for then nobody probes; the
kernel would send it again and again for a quarter of an hour."""


def make_engine(url: str, *, pool_size: int = POOL_SIZE, trusted_seconds: float = 0.0) -> Engine:
    """An engine for PostgreSQL that survives a restart of the server.

    Args:
        trusted_seconds: a connection that was used so recently is not tried before its next use, which saves every
            request a round trip; after a restart of the server such a request fails, and the next one does not.
    """
    watched = {f"tcp_{name}": value for name, value in KEEPALIVE.items()} | UNHEARD
    server = " ".join(f"-c {name}={value}" for name, value in watched.items())
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=5,
        pool_pre_ping=trusted_seconds == 0,
        hide_parameters=True,  # errors reach logs, and the values may be what people wrote
        pool_use_lifo=True,  # few connections do most of the work: theirs are the statements that are prepared
        connect_args={
            "options": f"-c timezone=UTC {server}",  # times come back in UTC, whatever the server's own zone is
            "connect_timeout": 10,
            **KEEPALIVE,
            **UNHEARD,
            "prepare_threshold": 1,  # the second time already
        },
    )
    wire.string(engine)
    if trusted_seconds:
        _try_after(engine, trusted_seconds)
    return engine


def _try_after(engine: Engine, seconds: float) -> None:
    """Try connections that lay idle for longer; the pool replaces one that does not answer."""

    @event.listens_for(engine, "checkin")
    def note(_connection: Any, record: Any) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def test(connection: Any, record: Any, _proxy: Any) -> None:
        idle_since = record.info.get("idle_since")
        if idle_since is None or time.monotonic() - idle_since <= seconds:
            return
        try:
            connection.execute("select")
            connection.rollback()
        except OperationalError as error:
            raise DisconnectionError from error


def close(engine: Engine) -> None:
    """Close all connections, those in use as soon as they come back: SQLAlchemy would leave these open until they are
    collected, and PostgreSQL would keep a place for each.
    """

    @event.listens_for(engine, "checkin")
    def end(_connection: Any, record: Any) -> None:
        record.invalidate()

    engine.dispose()


def make_session_factory(engine: Engine, sender: Sender | None = None) -> SessionFactory:
    """Sessions on `engine`; `sender` gets the messages of each committed transaction (None: the tick does)."""
    return sessionmaker(engine, expire_on_commit=False, info={"sender": sender})


@contextmanager
def session_scope(factory: SessionFactory) -> Iterator[Session]:
    """One transaction: commit at the end or roll back on any error, then send the buffered messages."""
    with factory() as session:
        with session.begin():
            yield session
        _send(session)


@contextmanager
def brief_scope(factory: SessionFactory) -> Iterator[Session]:
    """The same for requests that somebody waits for, and which mostly ask `app.hot`: see `app.brief`."""
    made = factory.kw
    session = Brief(made["bind"], expire_on_commit=made["expire_on_commit"], info=made["info"])
    try:
        try:
            yield session
        except BaseException:
            session.give_up()
            raise
        _commit(session)
    finally:
        session.give_back()
    _send(session)


def _commit(session: Brief) -> None:
    """Whoever wrote. Raises: what SQLAlchemy raises."""
    if session.in_transaction():
        session.commit()
        return
    try:
        with translated():
            session.wire.commit()
    except DBAPIError as error:
        if session.wire.closed:
            session.drop(error)
        raise


def among(column: InstrumentedAttribute[UUID], ids: Collection[UUID]) -> ColumnElement[bool]:
    """Whether a column is one of these ids, as one parameter: thousands of them cost IN more than the query itself."""
    return column == any_(cast(list(ids), ARRAY(Uuid)))


def _send(session: Session) -> None:
    messages = jobs.take_messages(session)
    sender: Sender | None = session.info.get("sender")
    if not messages or sender is None:
        return
    try:
        sender(messages)
    except Exception as error:  # the rows are committed: a dead broker only delays the work until the next tick
        log.warning("broker_unreachable", error=str(error), messages=len(messages))
