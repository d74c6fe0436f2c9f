"""The short way to a desk: what is right at once is answered there, and both ways answer alike."""

from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session
from starlette.types import Receive, Scope, Send

from app import accounts
from app.models import Role, Run
from app.models import Scope as TokenScope
from app.web import api_labeling
from app.web.short_way import ShortWay
from tests.factories import make_account, make_comparison, make_run

JSON = {"content-type": "application/json"}


@pytest.fixture
def run(session: Session) -> Run:
    made = make_run(session)
    for _ in range(2):
        make_comparison(session, made)
    session.commit()
    return made


@pytest.fixture
def ada(session: Session) -> dict[str, str]:
    """Headers of a labeler."""
    token = accounts.issue_token(session, make_account(session).id, "test")
    session.commit()
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def door(client: TestClient) -> TestClient:
    """The short way alone, with nothing behind it but an answer of its own kind."""

    async def behind(_: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": body})

    way = ShortWay(behind, api_labeling.waited_for.routes, most_body_bytes=100)

    async def lead(scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = client.app
        await way(scope, receive, send)

    return TestClient(lead)


def test_what_is_right_at_once_is_answered_there(door: TestClient, run: Run, ada: dict[str, str]) -> None:
    leases = door.post(f"/api/v1/runs/{run.id}/leases", json={"count": 1}, headers=ada).json()["leases"]
    said = {"verdict": "best", "choice": leases[0]["samples"][0]["id"]}
    where = f"/api/v1/comparisons/{leases[0]['comparison']}/labels"
    answer = door.post(where, json=said, headers=ada | {"Idempotency-Key": "one"})
    assert (answer.status_code, answer.json()["revision"]) == (200, 1)
    again = door.post(where, json=said, headers=ada | {"Idempotency-Key": "two"})
    assert (again.status_code, again.json()["title"]) == (409, "Conflict")


@pytest.mark.parametrize(
    ("method", "where", "content", "headers"),
    [
        ("GET", "/api/v1/runs/{run}/leases", b"{}", JSON),
        ("POST", "/api/v1/runs/{run}/pause", b"{}", JSON),
        ("POST", "/api/v1/runs/{run}/leases/more", b"{}", JSON),
        ("POST", "/api/v1/runs/here/leases", b"{}", JSON),
        ("POST", "/api/v1/runs/{run}/leases", b"{", JSON),
        ("POST", "/api/v1/runs/{run}/leases", b'{"count": 9}', JSON),
        ("POST", "/api/v1/runs/{run}/leases", b'{"counts": 1}', JSON),
        ("POST", "/api/v1/runs/{run}/leases", b'{"count": 1}' + b" " * 100, JSON),
        ("POST", "/api/v1/runs/{run}/leases", b"count=1", {"content-type": "application/x-www-form-urlencoded"}),
        ("POST", "/api/v1/comparisons/{run}/labels", b'{"verdict": "tie"}', JSON),
        ("POST", "/api/v1/comparisons/{run}/labels", b'{"verdict": "tie"}', JSON | {"idempotency-key": "k" * 201}),
    ],
)
def test_all_else_goes_on_with_its_body(
    door: TestClient, run: Run, ada: dict[str, str], method: str, where: str, content: bytes, headers: dict[str, str]
) -> None:
    answer = door.request(method, where.format(run=run.id), content=content, headers=ada | headers)
    assert (answer.status_code, answer.content) == (299, content)


def test_both_ways_answer_alike(client: TestClient, session: Session, run: Run, ada: dict[str, str]) -> None:
    reader = make_account(session, name="Eve", role=Role.RESEARCHER)
    token = accounts.issue_token(session, reader.id, "reads", scopes=[TokenScope.READ])
    session.commit()
    held = client.post(f"/api/v1/runs/{run.id}/leases", json={}, headers=ada).json()["leases"][0]
    labels = f"/api/v1/comparisons/{held['comparison']}/labels"
    key = {"idempotency-key": "one"}
    cases: list[tuple[str, dict[str, str], bytes]] = [
        (f"/api/v1/runs/{run.id}/leases", ada, b"{}"),
        (f"/api/v1/runs/{run.id}/leases", {}, b"{}"),
        (f"/api/v1/runs/{run.id}/leases", {}, b'{"count": 9}'),
        (f"/api/v1/runs/{run.id}/leases", ada, b'{"count": 9}'),
        (f"/api/v1/runs/{run.id}/leases", ada, b"{"),
        (f"/api/v1/runs/{run.id}/leases", {"authorization": f"Bearer {token}"}, b"{}"),
        (f"/api/v1/runs/{run.id}/leases", {"sec-fetch-site": "cross-site"}, b"{}"),
        (f"/api/v1/runs/{uuid4()}/leases", ada, b"{}"),
        ("/api/v1/runs/here/leases", ada, b"{}"),
        (labels, ada | key, b'{"verdict": "best"}'),
        (labels, ada | key, b'{"verdict": "best", "choice": "%s"}' % str(uuid4()).encode()),
        (labels, ada, b'{"verdict": "tie"}'),
        (labels, ada | key, b'{"verdict": "tie", "milliseconds": -1}'),
        (f"/api/v1/comparisons/{uuid4()}/labels", ada | key, b'{"verdict": "tie"}'),
        (labels, ada | key, b'{"verdict": "tie"}'),
    ]
    for where, headers, body in cases:
        short = client.post(where, content=body, headers=JSON | headers)
        # A body whose length is not told beforehand goes the framework's way.
        long = client.post(where, content=iter([body]), headers=JSON | headers)
        assert "content-length" not in long.request.headers
        assert (short.status_code, _told(short.json())) == (long.status_code, _told(long.json())), (where, body)
        assert _kept(short.headers) == _kept(long.headers)


def _told(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "leases"} | {"count": len(body.get("leases", []))}


def _kept(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in ("x-request-id", "content-length")}
