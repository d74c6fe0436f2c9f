"""Errors as answers: RFC 9457 problem details under /api, a page elsewhere."""

from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import DomainError, InvalidError, TooManyError, UnauthorizedError, UnavailableError
from app.web import pages

log = structlog.get_logger()

RETRY_SECONDS = 2


class BigBodies:
    """Lets the framework's refusal of a big body read as every other error does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = False

        async def send_on(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                refused = True
                await answer(Request(scope), _too_big())(scope, receive, send)
            elif not refused:
                await send(message)

        await self.app(scope, receive, send_on)


def install(app: FastAPI, *, most_body_bytes: int) -> None:
    """Answer every kind of error; a body of more bytes is one, but where a route says its own limit."""
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=most_body_bytes)
    app.add_middleware(BigBodies)
    app.add_exception_handler(DomainError, _domain)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(OperationalError, _database)


def answer(request: Request, error: DomainError, **extra: Any) -> Response:
    """The error as its caller can read it; `extra` members go into the problem details."""
    if not request.url.path.startswith("/api/"):
        if isinstance(error, UnauthorizedError):
            return pages.see_other("/signin")
        page = pages.render(request, "error.html", status=error.status, title=error.title, detail=error.detail)
        page.headers.update(_headers(error))
        return page
    body = {"type": "about:blank", "title": error.title, "status": error.status, "detail": error.detail, **extra}
    return JSONResponse(body, error.status, _headers(error), media_type="application/problem+json")


def of_work(request: Request, error: DomainError | OperationalError) -> Response:
    """What goes wrong in a use case, as the framework's handlers answer it."""
    return _domain(request, error) if isinstance(error, DomainError) else _database(request, error)


def unknown(request: Request, request_id: str) -> Response:
    """The answer to what nobody foresaw."""
    return answer(request, DomainError(f"Prefloop could not do this. Its log says why, under {request_id}."))


def _too_big() -> DomainError:
    error = DomainError("The body is too big: send less, or files in parts by the upload.")
    error.status, error.title = int(HTTPStatus.REQUEST_ENTITY_TOO_LARGE), "Content Too Large"
    return error


def _headers(error: DomainError) -> dict[str, str]:
    if isinstance(error, UnauthorizedError):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, TooManyError):
        return {"Retry-After": str(error.retry_seconds)}
    return {"Retry-After": str(RETRY_SECONDS)} if isinstance(error, UnavailableError) else {}


def _domain(request: Request, error: Exception) -> Response:
    assert isinstance(error, DomainError)
    return answer(request, error)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = DomainError(error.detail)
    known.status, known.title = error.status_code, HTTPStatus(error.status_code).phrase
    response = answer(request, known)
    response.headers.update(error.headers or {})
    return response


def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [{"where": ".".join(map(str, fault["loc"])), "what": fault["msg"]} for fault in error.errors()]
    sentence = "; ".join(f"{fault['where']}: {fault['what']}" for fault in faults)
    return answer(request, InvalidError(sentence), errors=jsonable_encoder(faults))


def _database(request: Request, error: Exception) -> Response:
    assert isinstance(error, OperationalError)
    log.error("database_unreachable", error=str(error.orig))  # without the statement: it may hold what people typed
    return answer(request, UnavailableError("The database does not answer just now. Nothing was saved: try again."))
