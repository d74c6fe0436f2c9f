"""How every process of ours logs: a line per event, for people or as JSON, with the request and the job it belongs to.

What people read, write and label is in no line: events name rows by their ids. Errors of the database could quote a
row, so that part of them is left out.
"""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TextIO

import structlog
from structlog.contextvars import bound_contextvars, get_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

Style = Literal["text", "json"]

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What a caller may send as its own id of a request; anything else would make lines unreadable, or forge them."""
HEADER = "x-request-id"
QUIET = ("celery", "kombu", "httpx", "httpx2", "httpcore", "httpcore2", "alembic", "aiobotocore", "botocore")
"""Libraries whose every step is no news: the tick alone sends a message each second."""
SERVER = ("uvicorn", "uvicorn.error")
"""Loggers with handlers and levels of their own, which would write past ours."""
ADDRESSES = "uvicorn.access"
"""It would write the address of each request, and one-time links stand in addresses; `app.web.request_watch` tells."""

_QUOTED_ROW = re.compile(r"^(DETAIL|CONTEXT):.*$", re.MULTILINE)
"""Lines of a PostgreSQL error that may hold the values of a row."""


def configure(level: str, style: Style, *, out: TextIO | None = None) -> None:
    """Write what this process and its libraries log to `out` (default: stderr), each event as one line.

    Args:
        level: name of the least that is written.
        style: `json` has one object per line; `text` spends more than one line on the trace of an error.
    """
    stream = out or sys.stderr
    renderer = _renderer(style, stream)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, *_SHARED, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
    )
    _configure_libraries(level, renderer, stream)


def request_id() -> str | None:
    """Id of the request that the current work was asked for in; None: nobody asked."""
    found: str | None = get_contextvars().get("request_id")
    return found


@contextmanager
def about(**facts: object) -> Iterator[None]:
    """Every line logged inside carries `facts`; None ones are left out."""
    with bound_contextvars(**{name: str(fact) for name, fact in facts.items() if fact is not None}):
        yield


def _without_rows(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if isinstance(value, str) and ("DETAIL:" in value or "CONTEXT:" in value):
            event[name] = _QUOTED_ROW.sub(r"\1: (not logged)", value)
    return event


_PLAIN = {"logger", "logger_name", "exception", "exc_info", "stack"}
"""Of such events the console's own renderer tells more than names and values."""
_QUOTING = re.compile(r"""[ \t\r\n="']""")

_SHARED: list[Processor] = [
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,  # the bare trace: the values of its variables may be texts
    _without_rows,
]


def _renderer(style: Style, stream: TextIO) -> Processor:
    if style == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    console = structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
    )
    return console if stream.isatty() else _quickly(console)


def _quickly(console: structlog.dev.ConsoleRenderer) -> Processor:
    """The same lines where there is no colour: with every request comes one, which then costs half."""

    def render(logger: WrappedLogger, name: str, event: EventDict) -> str:
        if not _PLAIN.isdisjoint(event) or "timestamp" not in event:
            return console(logger, name, event)
        begun = f"{event.pop('timestamp')} [{event.pop('level'):<9}] {event.pop('event')}"
        return " ".join((begun, *(f"{key}={_said(event[key])}" for key in sorted(event))))

    return render


def _said(value: object) -> str:
    return value if isinstance(value, str) and not _QUOTING.search(value) else repr(value)


def _configure_libraries(level: str, renderer: Processor, stream: TextIO) -> None:
    """Lead the loggers of the standard library, which our libraries use, into the same lines."""
    handler = logging.StreamHandler(stream)
    before: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        *_SHARED,
    ]
    after: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=after))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in SERVER:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).setLevel(logging.NOTSET)
        logging.getLogger(name).propagate = True
    logging.getLogger(ADDRESSES).disabled = True
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
