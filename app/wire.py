"""A connection to PostgreSQL that can be asked in one call of libpq.

psycopg sends a statement and waits for its answer in several steps, so that it can be interrupted between them. Each
step lets go of Python's lock, and in a process with many threads getting it back is a change of threads, which costs
more than the step. Where a statement is short and runs with every label, `Wire.ask` does the whole trip in one step.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import psycopg
from psycopg.abc import PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from sqlalchemy import Engine, event

_NAMED = re.compile(r"%\((\w+)\)s")
_BINARY = 1


class Wire(psycopg.Connection[Any]):
    """A connection; all that psycopg's can do, it can too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._asked: dict[tuple[str, tuple[int, ...]], bytes] = {}

    def ask(self, statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """The rows that a statement gives, prepared at its first use; a transaction begins where none has.

        Args:
            statement: with places `%(name)s`, and no other per cent sign.
        Raises: psycopg.Error.
        """
        text, names = _numbered(statement)
        adapter = Transformer.from_context(self)
        dumped = adapter.dump_sequence([values[name] for name in names], [PyFormat.AUTO] * len(names))
        given = cast(Sequence[bytes], dumped)  # None is NULL, which the signature below leaves out
        types = adapter.types or ()
        if not self.autocommit and self.pgconn.transaction_status == TransactionStatus.IDLE:
            self._checked(self.pgconn.exec_(b"BEGIN"))
        known = self._asked.get((statement, types)) or self._prepare(statement, text, types)
        answer = self._checked(self.pgconn.exec_prepared(known, given, adapter.formats, _BINARY))
        adapter.set_pgresult(answer)
        return adapter.load_rows(0, answer.ntuples, tuple)

    def commit(self) -> None:
        """End the transaction, if there is one; what it wrote is durable then.

        Raises: psycopg.Error; InFailedSqlTransaction where an error before it has undone all: PostgreSQL answers such
            a `commit` without one, and somebody would be told that what they gave is kept.
        """
        if self.pgconn.transaction_status != TransactionStatus.IDLE:
            done = self._checked(self.pgconn.exec_(b"COMMIT")).command_status
            if done != b"COMMIT":
                raise psycopg.errors.InFailedSqlTransaction("nothing was saved: an error before had ended it")

    def rollback(self) -> None:
        """End the transaction, if there is one, and undo what it wrote.

        psycopg's own also forgets every prepared statement, for their tables may have gone with the transaction;
        PostgreSQL sees that by itself, and a refused label would cost the next ones their plans.
        """
        if self.pgconn.transaction_status != TransactionStatus.IDLE:
            self._checked(self.pgconn.exec_(b"ROLLBACK"))

    def _deallocate(self, name: bytes | None) -> PQGen[None]:
        """psycopg has the server forget a statement, or (None) all, as after a `drop` or a rollback to a savepoint."""
        if name is None:
            self._asked.clear()
        yield from super()._deallocate(name)

    def _prepare(self, statement: str, text: bytes, types: tuple[int, ...]) -> bytes:
        name = b"asked_%d" % len(self._asked)
        self._checked(self.pgconn.prepare(name, text, types))
        self._asked[statement, types] = name
        return name

    def _checked(self, answer: PGresult) -> PGresult:
        if answer.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            error = psycopg.errors.error_from_result(answer, self.info.encoding)
            if isinstance(error, psycopg.errors.InvalidSqlStatementName):
                self._asked.clear()  # a pooler on the way forgot them: the next transaction has them anew
            # The line itself broke: there is no word of the server's that would say what kind of error it is.
            raise psycopg.OperationalError(str(error)) if error.sqlstate is None else error
        return answer


def string(engine: Engine) -> None:
    """Let an engine connect by wires."""

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, words: list[Any], options: dict[str, Any]) -> Wire:
        return Wire.connect(*words, **options)


@cache
def _numbered(statement: str) -> tuple[bytes, tuple[str, ...]]:
    """The statement with places `$1` and so on, and their names."""
    names = tuple(dict.fromkeys(_NAMED.findall(statement)))
    return _NAMED.sub(lambda place: f"${names.index(place[1]) + 1}", statement).encode(), names
