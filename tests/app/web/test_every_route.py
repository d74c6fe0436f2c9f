"""Every route, found in the application itself, tried by everybody who must not come in.

A route without a declared requirement fails here, and so does one that would let the wrong person in.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app import accounts
from app.models import Role, Scope
from app.web.deps import COOKIE, SAFE_METHODS, Requirement, anybody
from app.web.openapi import calls_of, requirement_of, routes_of
from tests.factories import make_account

NOT_OURS = {"/api/v1/openapi.json", "/static"}
"""Made by the framework; for anybody: the document says nothing that is secret, the files are in the wheel."""
PUBLIC = {
    ("GET", "/"),
    ("GET", "/signin"),
    ("POST", "/signin"),
    ("POST", "/signin/password"),
    ("GET", "/signin/oidc/start"),
    ("GET", "/signin/oidc"),
    ("GET", "/signin/{token}"),
    ("POST", "/signin/{token}"),
    ("GET", "/join/{token}"),
    ("POST", "/join/{token}"),
    ("POST", "/signout"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/metrics"),
    ("GET", "/static/vendor/plotly.min.js"),
}
"""All that anybody may do. Whoever adds to this list opens a door."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A method of a route."""

    method: str
    path: str
    route: RouteContext

    @property
    def required(self) -> Requirement | None:
        return requirement_of(self.route)

    @property
    def is_public(self) -> bool:
        return anybody in calls_of(self.route.dependant)

    def knock(self, client: TestClient, headers: dict[str, str]) -> int:
        """The status for somebody who gives ids that nobody has and a body that makes no sense."""
        path = self.path
        for name in self.route.param_convertors:
            path = path.replace(f"{{{name}}}", str(uuid4()))
        return client.request(self.method, path, headers=headers, follow_redirects=False).status_code


def doors(app: FastAPI) -> Iterator[Door]:
    for route in routes_of(app):
        for method in sorted(route.methods or ()):
            yield Door(method=method, path=str(route.path_format), route=route)


@pytest.fixture
def people(session: Session) -> dict[Role, dict[str, str]]:
    """A browser of each role, as headers."""
    cookies = {role: accounts.open_session(session, make_account(session, role=role).id, days=1) for role in Role}
    session.commit()
    return {role: {"cookie": f"{COOKIE}={secret}"} for role, secret in cookies.items()}


@pytest.fixture
def tokens(session: Session) -> dict[Scope, dict[str, str]]:
    """An operator's tokens, each with all scopes but one, as headers."""
    boss = make_account(session, role=Role.OPERATOR)
    secrets = {
        scope: accounts.issue_token(session, boss.id, f"no {scope}", scopes=set(Scope) - {scope}) for scope in Scope
    }
    session.commit()
    return {scope: {"authorization": f"Bearer {secret}"} for scope, secret in secrets.items()}


def test_every_route_says_whom_it_lets_in(site: FastAPI) -> None:
    silent = [door for door in doors(site) if door.required is None and not door.is_public]
    assert [f"{door.method} {door.path}" for door in silent] == []
    assert {(door.method, door.path) for door in doors(site) if door.required is None} == PUBLIC
    everything = iter_route_contexts(site.routes)
    assert {one.path for one in everything if not isinstance(one.original_route, APIRoute)} == NOT_OURS


def test_nobody_comes_in_without_signing_in(site: FastAPI, client: TestClient) -> None:
    guesses: tuple[dict[str, str], ...] = ({}, {"authorization": "Bearer guess"}, {"cookie": f"{COOKIE}=guess"})
    shut = [door for door in doors(site) if door.required is not None]
    for headers in guesses:
        answers = {f"{door.method} {door.path}": door.knock(client, headers) for door in shut}
        assert answers == {door: 401 if " /api/" in door else 303 for door in answers}


def test_every_role_below_the_required_one_is_refused(
    site: FastAPI, client: TestClient, people: dict[Role, dict[str, str]]
) -> None:
    tried, open_doors = 0, []
    for door in doors(site):
        for role in Role:
            if door.required is None or accounts.LADDER.index(role) >= accounts.LADDER.index(door.required.role):
                continue
            tried += 1
            if (status := door.knock(client, people[role])) != 403:
                open_doors.append(f"{door.method} {door.path} answers {status} to a {role}")
    assert open_doors == []
    assert tried > 30, "there are routes for researchers"


def test_the_required_role_is_let_in(site: FastAPI, client: TestClient, people: dict[Role, dict[str, str]]) -> None:
    """Else the test above would pass with every door shut."""
    shut = [
        f"{door.method} {door.path}"
        for door in doors(site)
        if door.required is not None
        and "sessions" not in door.path  # would end the very session that knocks
        and door.knock(client, people[door.required.role]) in (401, 403)
    ]
    assert shut == []


def test_a_token_without_the_scope_is_refused(
    site: FastAPI, client: TestClient, tokens: dict[Scope, dict[str, str]]
) -> None:
    wrong = []
    for door in doors(site):
        if door.required is None:
            continue
        allowing = door.required.scopes(door.method)
        for scope, headers in tokens.items():
            refused = allowing <= {scope} or door.required.browser
            if refused and (status := door.knock(client, headers)) != 403:
                wrong.append(f"{door.method} {door.path} answers {status} to a token without {scope}")
    assert wrong == []


def test_reading_changes_nothing_by_its_scope(site: FastAPI) -> None:
    """The scope of a method that changes something is never one that lets people look."""
    for door in doors(site):
        if door.required is not None and door.method not in SAFE_METHODS:
            assert Scope.READ not in door.required.scopes(door.method), door.path
