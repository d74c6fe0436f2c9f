"""Requests of labelers that somebody waits for, each done whole in one thread and one transaction.

The framework gives every synchronous step of a request (opening the transaction, looking up the account, the route,
checking the answer, the commit) a trip to a thread of its own, and each trip costs as much as PostgreSQL's answer. So
these routes depend on a desk, which waits for nothing; they open it where they work, and give a finished response.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial, wraps
from inspect import signature
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from fastapi.security.utils import get_authorization_scheme_param
from pydantic import BaseModel, TypeAdapter, ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import Headers

from app import admission
from app.admission import Visitor
from app.db import brief_scope
from app.errors import UnauthorizedError
from app.settings import Settings
from app.web.deps import (
    SIGN_IN,
    Requirement,
    bearer_scheme,
    cookie_name,
    cookie_scheme,
    require_account,
)


class Desk:
    """Where a labeler's request is worked on."""

    def __init__(self, request: Request, requirement: Requirement) -> None:
        self._request = request
        self._requirement = requirement
        self.settings: Settings = request.app.state.settings

    async def work(self, do: Callable[[], Response]) -> Response:
        """Do it in a thread that serves desks, with the context of the request."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._request.app.state.desk_threads, copy_context().run, do)

    @contextmanager
    def open(self) -> Iterator[tuple[Session, UUID]]:
        """The transaction and the labeler, whose account it locks; committed at the end.

        Raises: UnauthorizedError, ForbiddenError, TooManyError.
        """
        state = self._request.app.state
        with brief_scope(state.session_factory) as session:
            visitor = self._visitor(session)
            if visitor is None:
                raise UnauthorizedError(SIGN_IN)
            self._requirement.check(self._request.method, visitor, state.limiter)
            yield session, visitor.id

    def _visitor(self, session: Session) -> Visitor | None:
        scheme, token = get_authorization_scheme_param(self._request.headers.get("authorization"))
        if scheme.lower() == "bearer" and token:
            return admission.of_token(session, token, lock=True)
        cookie = self._request.cookies.get(cookie_name(self._request, self.settings))
        if cookie is None:
            return None
        return admission.of_session(session, cookie, idle_days=self.settings.session_idle_days, lock=True)


class RequiresDesk(Requirement):
    """Whom a route lets in, as a dependency that gives a desk: it is the desk that asks."""

    async def __call__(self, request: Request) -> Desk:
        """The desk of a request."""
        return Desk(request, self)


REQUIREMENT = RequiresDesk(
    role=require_account.role, to_look=require_account.to_look, to_change=require_account.to_change
)

DeskDep = Annotated[Desk, Depends(REQUIREMENT)]
"""Anybody who labels."""
SECRETS: dict[str, Any] = {"security": [{bearer_scheme.scheme_name: []}, {cookie_scheme.scheme_name: []}]}
"""`openapi_extra` of routes with a desk: which secrets let people in."""


class DeskRoute(APIRoute):
    """A route with a desk. Whoever may not come in is told so before they are told what is wrong with their body.

    Its function takes a desk, what stands in the path, one body and headers.
    """

    def __init__(self, path: str, endpoint: Callable[..., Response], **options: Any) -> None:
        @wraps(endpoint)
        async def at_desk(desk: Desk, **given: Any) -> Response:
            return await desk.work(partial(endpoint, desk=desk, **given))

        super().__init__(path, at_desk, **options)
        self.work = endpoint
        takes = {name: one.annotation for name, one in signature(endpoint).parameters.items() if name != "desk"}
        (self._body_name,) = (
            name for name, one in takes.items() if isinstance(one, type) and issubclass(one, BaseModel)
        )
        self._takes = {name: TypeAdapter[Any](one) for name, one in takes.items()}

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's, with that order."""
        handle = super().get_route_handler()

        async def handle_in_order(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError:
                await run_in_threadpool(_admit, Desk(request, REQUIREMENT))
                raise

        return handle_in_order

    def given(self, path: Mapping[str, str], headers: Headers, body: bytes) -> dict[str, Any] | None:
        """What the function takes; None: something is wrong with it, and the framework shall say what."""
        found = {name: path[name] if name in path else headers.get(name.replace("_", "-")) for name in self._takes}
        try:
            return {
                name: taken.validate_json(body) if name == self._body_name else taken.validate_python(found[name])
                for name, taken in self._takes.items()
            }
        except ValidationError:
            return None


def answered(body: BaseModel) -> Response:
    """A finished response: the framework need not check it again."""
    return Response(body.model_dump_json(), media_type="application/json")


def _admit(desk: Desk) -> None:
    with desk.open():
        pass
