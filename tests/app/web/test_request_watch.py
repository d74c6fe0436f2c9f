"""Each request has one id, in its answer, its line and the job it started; no line holds what people wrote."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import accounts
from app.models import Checkpoint, Job, Role
from tests.app.web.conftest import SignIn
from tests.factories import make_account, make_comparison, make_run
from tests.logged import Logged, logging_to_memory


@pytest.fixture
def logged() -> Iterator[Logged]:
    with logging_to_memory() as out:
        yield out


@pytest.mark.parametrize("given", ["trace-7.A_b", "x" * 64])
def test_a_callers_own_id_is_kept(client: TestClient, logged: Logged, given: str) -> None:
    assert client.get("/signin", headers={"X-Request-ID": given}).headers["x-request-id"] == given
    (line,) = logged.events("request")
    assert {name: line[name] for name in ("request_id", "method", "route", "status")} == {
        "request_id": given,
        "method": "GET",
        "route": "/signin",
        "status": 200,
    }


@pytest.mark.parametrize("given", ["", "two words", "x" * 65, 'id","level":"none'])
def test_an_id_that_would_spoil_the_log_is_replaced(client: TestClient, logged: Logged, given: str) -> None:
    answered = client.get("/signin", headers={"X-Request-ID": given}).headers["x-request-id"]
    assert len(answered) == 32
    assert [line["request_id"] for line in logged.events("request")] == [answered]


def test_errors_have_it_too_and_are_counted(site: FastAPI, client: TestClient, logged: Logged) -> None:
    @site.get("/broken")
    def broken() -> None:
        raise RuntimeError("SECRET of the caller")

    site.router.routes.insert(0, site.router.routes.pop())  # before the folder of static files
    answer = client.get("/broken")
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] in answer.text, "the page tells under what to look"
    assert "SECRET" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    (line,) = logged.events("request_failed")
    assert line["request_id"] == answer.headers["x-request-id"]
    assert "RuntimeError" in line["exception"]
    figures = client.get("/metrics").text
    assert 'prefloop_http_request_seconds_count{method="GET",route="/broken",status="500"} 1.0' in figures


def test_refusals_of_the_outer_layers_are_counted(client: TestClient) -> None:
    answer = client.post("/signin", headers={"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, len(answer.headers["x-request-id"])) == (403, 32)
    assert 'method="POST",route="other",status="403"} 1.0' in client.get("/metrics").text


def test_a_one_time_link_is_in_no_line(client: TestClient, session: Session, logged: Logged) -> None:
    secret = accounts.invite(session, make_account(session).id, days=1)
    session.commit()
    client.get(f"/signin/{secret}")
    assert logged.events("request")
    assert secret not in logged.getvalue()


def test_the_job_knows_which_request_started_it(
    client: TestClient, session: Session, sign_in: SignIn, logged: Logged
) -> None:
    sign_in(client, Role.RESEARCHER)
    run = make_run(session)
    session.commit()
    reference = session.scalars(select(Checkpoint).where(Checkpoint.run_id == run.id)).one()
    body = {"checkpoint": str(reference.id), "prompt": "Once SECRET-PROMPT", "count": 1}
    answer = client.post("/api/v1/generate", json=body, headers={"X-Request-ID": "asked-here"})
    assert answer.status_code == 202, answer.text
    assert session.scalars(select(Job)).one().request_id == "asked-here"
    assert "SECRET-PROMPT" not in logged.getvalue()


def test_nothing_that_labelers_read_or_write_is_logged(client: TestClient, session: Session, logged: Logged) -> None:
    run = make_run(session)
    for _ in range(3):
        make_comparison(session, run, texts=("MARK one", "MARK two", "MARK three", "MARK four"))
    token = accounts.issue_token(session, make_account(session, name="MARK Person").id, "MARK token")
    session.commit()
    client.headers["Authorization"] = f"Bearer {token}"
    held = client.post(f"/api/v1/runs/{run.id}/leases", json={"count": 3}).json()["leases"]
    first, second, third = (f"/api/v1/comparisons/{one['comparison']}" for one in held)
    answers = [
        client.post(
            f"{first}/labels",
            json={"verdict": "best", "choice": held[0]["samples"][0]["id"], "reason": "MARK why"},
            headers={"Idempotency-Key": str(uuid4())},
        ),
        client.post(f"{second}/labels", json={"verdict": "MARK nonsense"}),
        client.post(f"{third}/flag", json={"reason": "MARK harm"}),
        client.post(f"/api/v1/runs/{run.id}/andon", json={"reason": "MARK cord"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 422, 204, 200], [answer.text for answer in answers]
    assert len(logged.events("request")) == 5
    assert "MARK" not in logged.getvalue()
