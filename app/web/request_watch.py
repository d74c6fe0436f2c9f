"""Every request gets an id, a measure of its time and one line in the log, whatever becomes of it."""

import time
from uuid import uuid4

import structlog
from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, clear_contextvars

from app import logs
from app.web import problems
from app.web.meters import Meters

log = structlog.get_logger()

ROUTINE = ("/health", "/metrics", "/static")
"""Asked for by machines and by every page: told at level DEBUG only."""


class RequestWatch:
    """Pure ASGI: takes or makes the request's id, answers it in the header, times and logs the request.

    The log names the route, never the address itself: one-time links stand in addresses.
    """

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self.app = app
        self.meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _id_of(scope)
        clear_contextvars()
        bind_contextvars(request_id=request_id)
        answer = _Answer(send, request_id, self.meters)
        started = time.perf_counter()
        try:
            await self._answered(scope, receive, answer)
        finally:
            self._tell(scope, answer, time.perf_counter() - started)

    async def _answered(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            await self.app(scope, receive, answer)
        except Exception:
            log.exception("request_failed", route=_route(scope))
            if answer.status is not None:
                raise  # half an answer is out: the server cuts the line
            await problems.unknown(Request(scope), answer.request_id)(scope, receive, answer)

    def _tell(self, scope: Scope, answer: "_Answer", seconds: float) -> None:
        route, method, status = _route(scope), scope["method"], answer.status or 500
        if answer.is_stream:
            self.meters.streams.dec()
        else:
            self.meters.requests.labels(method, route, status).observe(seconds)
        say = log.debug if route.startswith(ROUTINE) else log.info
        say("request", method=method, route=route, status=status, ms=round(1000 * seconds, 1))


class _Answer:
    """Passes an answer on, its header completed, and remembers what it was."""

    def __init__(self, send: Send, request_id: str, meters: Meters) -> None:
        self.request_id = request_id
        self.status: int | None = None
        self.is_stream = False
        self._send = send
        self._meters = meters

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[logs.HEADER] = self.request_id
            if headers.get("content-type", "").startswith("text/event-stream"):
                self.is_stream = True
                self._meters.streams.inc()
        await self._send(message)


def _id_of(scope: Scope) -> str:
    given = Headers(scope=scope).get(logs.HEADER, "")
    return given if logs.REQUEST_ID.fullmatch(given) else uuid4().hex


def _route(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", "/static" if scope["path"].startswith("/static/") else "other"))
