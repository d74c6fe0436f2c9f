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

from app.errors import DomainError, InvalidError, TooManyError, UnauthorizedError, UnavailableError
from app.web import pages

log = structlog.get_logger()

RETRY_SECONDS = 2


def install(app: FastAPI) -> None:
    """Answer every kind of error."""
    app.add_exception_handler(DomainError, _domain)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(OperationalError, _database)
    app.add_exception_handler(Exception, _unknown)


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


def _unknown(request: Request, error: Exception) -> Response:
    log.error("request_failed", path=request.url.path, error=repr(error))  # the server prints the traceback
    return answer(request, DomainError("Prefloop could not do this. Its log says why."))
