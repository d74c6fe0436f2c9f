"""A session for requests that somebody waits for: it costs SQLAlchemy's work only where SQLAlchemy is asked.

Such a request asks a few statements of `app.hot`, which go past SQLAlchemy to the wire; opening a connection and a
transaction of SQLAlchemy's around them, and ending them, took a third of its thread's time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.wire import Wire


class Brief(Session):
    """A session on one connection of the pool; what `wire` is asked and what the session writes is one transaction."""

    def __init__(self, engine: Engine, **options: Any) -> None:
        super().__init__(**options)
        self._engine = engine
        self._wrapped: Connection | None = None
        with translated():
            self._held = engine.raw_connection()
        self.wire = cast(Wire, self._held.driver_connection)

    def get_bind(self, *_: Any, **__: Any) -> Connection:
        """The connection as SQLAlchemy's, from the first time that somebody asks for it."""
        if self._wrapped is None:
            self._wrapped = Connection(self._engine, connection=self._held)
        return self._wrapped

    def drop(self, error: BaseException) -> None:
        """The connection broke: the pool makes another."""
        if self._wrapped is not None:
            self._wrapped.invalidate(error)
        elif self._held.is_valid:
            self._held.invalidate(error)

    def give_up(self) -> None:
        """Undo what anybody wrote; a connection that cannot is dropped, which undoes it too."""
        try:
            if self.in_transaction():
                self.rollback()
            self.wire.rollback()
        except (DBAPIError, psycopg.Error) as error:
            self.drop(error)

    def give_back(self) -> None:
        """Return the connection to its pool."""
        if self._wrapped is not None:
            self.close()
            self._wrapped.close()
        elif self._held.is_valid:
            self._held.close()


@contextmanager
def translated() -> Iterator[None]:
    """Errors of the driver as SQLAlchemy has them."""
    try:
        yield
    except psycopg.Error as error:
        raise translation(error) from error


def translation(error: psycopg.Error, statement: str | None = None) -> BaseException:
    """An error of the driver as SQLAlchemy has it, without the values: they may hold what people typed."""
    return DBAPIError.instance(statement, None, error, psycopg.Error)
