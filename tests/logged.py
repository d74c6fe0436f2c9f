"""What this process logs, for tests that read it: configured as a server does it, and put back afterwards."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from app import logs


class Logged(io.StringIO):
    """Lines as they are written."""

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Those of JSON so far, or those of one name."""
        found = [json.loads(line) for line in self.getvalue().splitlines()]
        return [event for event in found if name in (None, event["event"])]


@contextmanager
def logging_to_memory(style: logs.Style = "json", level: str = "INFO") -> Iterator[Logged]:
    """Everything that is logged inside."""
    root = logging.getLogger()
    before, at = root.handlers[:], root.level
    out = Logged()
    logs.configure(level, style, out=out)
    try:
        yield out
    finally:
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
        root.handlers[:] = before
        root.setLevel(at)
        for name in logs.QUIET:
            logging.getLogger(name).setLevel(logging.NOTSET)
