"""The OpenAPI document, completed from the routes: who may, what can go wrong, one sentence of summary.

Whatever a route requires is read off its own dependencies, so a new route is described without a word about it here.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts

from app import accounts
from app.models import Scope
from app.web.deps import SAFE_METHODS, Requirement

PROBLEM = {
    "title": "Problem",
    "description": "Problem details (RFC 9457); `detail` is a sentence that says what to do.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "examples": ["about:blank"]},
        "title": {"type": "string", "examples": ["Conflict"]},
        "status": {"type": "integer", "examples": [409]},
        "detail": {
            "type": "string",
            "examples": ["The run is stopped: it cannot become paused."],
        },
        "errors": {
            "description": "With 422: which members are wrong.",
            "type": "array",
            "items": {
                "type": "object",
                "required": ["where", "what"],
                "properties": {
                    "where": {"type": "string", "examples": ["body.count"]},
                    "what": {"type": "string", "examples": ["Input should be greater than or equal to 1"]},
                },
            },
        },
    },
}

MEANINGS = {
    400: "The body is no JSON, or not the kind of body that is wanted.",
    401: "Nobody is signed in, or the token is wrong, expired or revoked.",
    403: "The role or the token's scopes do not allow it.",
    404: "There is no such thing, or it is not yours to see.",
    409: "The state it relied on is gone; nothing was changed.",
    413: "The body is too big.",
    422: "The request makes no sense; `errors` names the members that are wrong.",
    429: "Too often; `Retry-After` says when to try again.",
    503: "A part is missing just now; nothing was changed, try again after `Retry-After` seconds.",
}

RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}

DESCRIPTION = """
Everything the pages do, for programs. Sign requests with `Authorization: Bearer TOKEN`; tokens are made on your own
page or by `POST /me/tokens`. Ids are opaque strings, times ISO 8601 in UTC, errors problem details (RFC 9457).
"""


def install(app: FastAPI) -> None:
    """Let the application answer with the completed document."""
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]


def routes_of(app: FastAPI) -> Iterator[RouteContext]:
    """Every route of the site and its API, whichever router it came with; not what the framework adds."""
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, APIRoute):
            yield context


def requirement_of(route: RouteContext) -> Requirement | None:
    """The strictest of what a route requires; None: it lets anybody in, or does not say."""
    found = [call for call in calls_of(route.dependant) if isinstance(call, Requirement)]
    return max(found, key=lambda one: accounts.LADDER.index(one.role), default=None)


def calls_of(dependant: Dependant) -> Iterator[Any]:
    """Everything a route depends on, all the way down."""
    for inner in dependant.dependencies:
        yield inner.call
        yield from calls_of(inner)


def _document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        made = get_openapi(title="Prefloop", version=app.version, description=DESCRIPTION.strip(), routes=app.routes)
        schemas = made["components"]["schemas"]
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        schemas["Problem"] = PROBLEM
        for route in routes_of(app):
            if route.include_in_schema:
                for method in route.methods or ():
                    _complete(made["paths"][route.path_format][method.lower()], route, method)
        app.openapi_schema = made
    return app.openapi_schema


def _complete(operation: dict[str, Any], route: RouteContext, method: str) -> None:
    required = requirement_of(route)
    summary = str(route.description or route.name).split("\n")[0].split(". ")[0].rstrip(".")
    operation["summary"] = summary
    if required is not None:
        scopes = " or ".join(f"`{scope}`" for scope in sorted(required.scopes(method)))
        operation["description"] = (
            f"{route.description}\n\nFor {required.role}s and up; tokens need the scope {scopes}."
        )
    for status in sorted(_statuses(operation, route, method, required)):
        operation["responses"][str(status)] = _problem(status)


def _statuses(operation: dict[str, Any], route: RouteContext, method: str, required: Requirement | None) -> set[int]:
    statuses = {503}
    if required is not None:
        statuses |= {401, 403}
        if method not in SAFE_METHODS and required.to_change == Scope.LABEL:
            statuses.add(429)
    if "{" in (route.path_format or ""):
        statuses |= {404, 422}
    if operation.get("parameters"):
        statuses.add(422)
    if any(_is_id(one["schema"]) for one in operation.get("parameters", ())):
        statuses.add(404)
    if method not in SAFE_METHODS:
        statuses |= {404, 409}
    if "requestBody" in operation:
        statuses |= {400, 413, 422}
    return statuses


def _is_id(schema: dict[str, Any]) -> bool:
    """Whether a parameter names a thing, or several."""
    of_one = schema.get("items", schema)
    return "uuid" in {of_one.get("format"), *(one.get("format") for one in of_one.get("anyOf", ()))}


def _problem(status: int) -> dict[str, Any]:
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    answer: dict[str, Any] = {"description": MEANINGS[status], "content": {"application/problem+json": schema}}
    return answer | ({"headers": RETRY_AFTER} if status in (429, 503) else {})
