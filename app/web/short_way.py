"""The requests that come with every label, led to their desks past the framework."""

from collections.abc import Mapping, Sequence
from functools import partial

from fastapi import Request
from sqlalchemy.exc import OperationalError
from starlette.datastructures import Headers
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import DomainError
from app.web import problems
from app.web.desk import REQUIREMENT, Desk, DeskRoute


class ShortWay:
    """Pure ASGI: leads requests of desks straight to them, with the same bodies, errors and answers.

    The framework's way (routes tried one by one, dependencies solved, layers around the answer) costs as much as
    the work itself. Whatever is not right at once goes that way still.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute], most_body_bytes: int) -> None:
        self.app = app
        self.routes = [route for route in routes if isinstance(route, DeskRoute)]
        self.most_body_bytes = most_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        for route in self.routes if scope["type"] == "http" and scope["method"] == "POST" else ():
            if (found := route.path_regex.fullmatch(scope["path"])) is not None:
                await self._lead(route, found.groupdict(), scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _lead(
        self, route: DeskRoute, path: Mapping[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        given, body = None, None
        if length.isdecimal() and int(length) <= self.most_body_bytes and _is_json(headers):
            body = await _read(receive)
            given = None if body is None else route.given(path, headers, body)
        if given is None:
            await self.app(scope, receive if body is None else _once_more(body, receive), send)
            return
        scope["route"] = route  # for whoever names it, as the framework does
        request = Request(scope)
        desk = Desk(request, REQUIREMENT)
        try:
            response = await desk.work(partial(route.work, desk=desk, **given))
        except (DomainError, OperationalError) as error:
            response = problems.of_work(request, error)
        await response(scope, receive, send)


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None: whoever sent it has gone."""
    parts, more = [], True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _once_more(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read already, and then what comes after it."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return left.pop() if left else await receive()

    return receive_again


def _is_json(headers: Headers) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
