"""The labeling API: each answer counts once, undo brings back, everybody acts for themselves."""

from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import accounts
from app.models import Comparison, ComparisonState, Label, Role, Run
from tests.factories import make_account, make_comparison, make_run


@pytest.fixture
def run(session: Session) -> Run:
    made = make_run(session)
    for _ in range(4):
        make_comparison(session, made)
    session.commit()
    return made


def bearer(session: Session, role: Role = Role.LABELER) -> dict[str, str]:
    """Headers of a new account."""
    token = accounts.issue_token(session, make_account(session, role=role).id, "test")
    session.commit()
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def ada(session: Session) -> dict[str, str]:
    return bearer(session)


@pytest.fixture
def researcher(session: Session) -> dict[str, str]:
    return bearer(session, Role.RESEARCHER)


def lease(client: TestClient, run: Run, headers: dict[str, str], count: int = 1) -> list[dict[str, Any]]:
    answer = client.post(f"/api/v1/runs/{run.id}/leases", json={"count": count}, headers=headers)
    assert answer.status_code == 200, answer.text
    leases: list[dict[str, Any]] = answer.json()["leases"]
    return leases


def test_without_a_token_nothing_is_given(client: TestClient, run: Run) -> None:
    answer = client.post(f"/api/v1/runs/{run.id}/leases", json={"count": 1})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_lease_has_four_samples_in_the_same_order_again(client: TestClient, run: Run, ada: dict[str, str]) -> None:
    first, second = lease(client, run, ada), lease(client, run, ada)
    assert [one["comparison"] for one in first] == [one["comparison"] for one in second]
    assert first[0]["samples"] == second[0]["samples"]
    assert len({sample["id"] for sample in first[0]["samples"]}) == 4
    assert first[0]["expires_at"].endswith("Z")


def test_two_labelers_never_hold_the_same(client: TestClient, run: Run, session: Session, ada: dict[str, str]) -> None:
    mine = {one["comparison"] for one in lease(client, run, ada, 2)}
    others = {one["comparison"] for one in lease(client, run, bearer(session), 8)}
    assert (len(mine), len(others), mine & others) == (2, 2, set())


@pytest.mark.parametrize("count", [0, 9, "many"])
def test_a_wrong_count_is_refused(client: TestClient, run: Run, ada: dict[str, str], count: object) -> None:
    answer = client.post(f"/api/v1/runs/{run.id}/leases", json={"count": count}, headers=ada)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["where"] == "body.count"


def test_the_same_key_is_the_same_answer(client: TestClient, run: Run, session: Session, ada: dict[str, str]) -> None:
    (held,) = lease(client, run, ada)
    choice = held["samples"][2]["id"]
    url, body = f"/api/v1/comparisons/{held['comparison']}/labels", {"verdict": "best", "choice": choice}
    answers = [client.post(url, json=body, headers=ada | {"Idempotency-Key": "k"}) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    label = session.scalars(select(Label)).one()
    assert (str(label.id), str(label.chosen_sample_id)) == (answers[0].json()["label"], choice)
    other = client.post(url, json=body, headers=ada | {"Idempotency-Key": "another"})
    assert other.status_code == 409


def test_an_answer_needs_a_key_and_sense(client: TestClient, run: Run, ada: dict[str, str]) -> None:
    (held,) = lease(client, run, ada)
    url = f"/api/v1/comparisons/{held['comparison']}/labels"
    assert client.post(url, json={"verdict": "tie"}, headers=ada).status_code == 422
    key = ada | {"Idempotency-Key": "k"}
    for body in ({"verdict": "best"}, {"verdict": "best", "choice": str(uuid4())}, {"verdict": "tie", "chioce": 1}):
        assert client.post(url, json=body, headers=key).status_code == 422
    assert client.post(url, json={"verdict": "tie"}, headers=key).status_code == 200


def test_undo_brings_the_comparison_back(client: TestClient, run: Run, ada: dict[str, str]) -> None:
    (held,) = lease(client, run, ada)
    url, key = f"/api/v1/comparisons/{held['comparison']}/labels", ada | {"Idempotency-Key": "k"}
    label = client.post(url, json={"verdict": "none"}, headers=key).json()["label"]
    undone = client.delete(f"/api/v1/labels/{label}", headers=ada)
    assert undone.json()["lease"]["comparison"] == held["comparison"]
    assert undone.json()["lease"]["samples"] == held["samples"]
    again = client.post(url, json={"verdict": "tie"}, headers=ada | {"Idempotency-Key": "k2"})
    assert again.json()["revision"] == 3


def test_nobody_undoes_the_answer_of_another(
    client: TestClient, run: Run, session: Session, ada: dict[str, str]
) -> None:
    (held,) = lease(client, run, ada)
    url, key = f"/api/v1/comparisons/{held['comparison']}/labels", ada | {"Idempotency-Key": "k"}
    label = client.post(url, json={"verdict": "none"}, headers=key).json()["label"]
    assert client.delete(f"/api/v1/labels/{label}", headers=bearer(session)).status_code == 404


def test_progress_counts_what_i_did(client: TestClient, run: Run, ada: dict[str, str]) -> None:
    url = f"/api/v1/runs/{run.id}/progress"
    assert client.get(url, headers=ada).json()["mine"] == 0
    (held,) = lease(client, run, ada)
    labels, key = f"/api/v1/comparisons/{held['comparison']}/labels", ada | {"Idempotency-Key": "k"}
    client.post(labels, json={"verdict": "best", "choice": held["samples"][0]["id"]}, headers=key)
    assert client.get(url, headers=ada).json()["mine"] == 1


def test_a_flagged_comparison_leaves_the_queue(
    client: TestClient, run: Run, session: Session, ada: dict[str, str]
) -> None:
    (held,) = lease(client, run, ada)
    answer = client.post(f"/api/v1/comparisons/{held['comparison']}/flag", json={"reason": "rude"}, headers=ada)
    assert answer.status_code == 204
    states = session.scalars(select(Comparison.state)).all()
    assert states.count(ComparisonState.FLAGGED) == 1


def test_anybody_pulls_the_cord_and_a_researcher_releases_it(
    client: TestClient, run: Run, ada: dict[str, str], researcher: dict[str, str]
) -> None:
    url = f"/api/v1/runs/{run.id}/andon"
    assert client.post(url, json={"reason": "only nonsense"}, headers=ada).json()["reason"] == "only nonsense"
    assert client.request("DELETE", url, json={"note": "fixed"}, headers=ada).status_code == 403
    released = client.request("DELETE", url, json={"note": "fixed"}, headers=researcher)
    assert (released.status_code, released.json()["note"]) == (200, "fixed")
    assert client.delete(url, headers=researcher).status_code == 422, "a release says why"
    assert client.request("DELETE", url, json={"note": "again"}, headers=researcher).status_code == 409


def test_text_that_the_database_cannot_hold_is_refused(client: TestClient, run: Run, ada: dict[str, str]) -> None:
    answer = client.post(f"/api/v1/runs/{run.id}/andon", json={"reason": "a\0b"}, headers=ada)
    assert answer.status_code == 422
