"""The API of the labeling page: changes, the last answers, guidelines, answers to questions in the export."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app.hparams import PRESETS
from app.models import Role, Run
from tests.app.web.test_api_labeling import bearer, lease
from tests.factories import make_comparison, make_run

PAIRS = PRESETS["sentiment-pairs-small"]


@pytest.fixture
def run(session: Session) -> Run:
    """Pairs with strength, and one question."""
    asking = PAIRS.model_copy(update={"labeling": PAIRS.labeling.model_copy(update={"questions": ("wrong",)})})
    made = make_run(session, hparams=json.loads(asking.model_dump_json(warnings=False)))
    for _ in range(2):
        make_comparison(session, made, texts=("a", "b"))
    session.commit()
    return made


@pytest.fixture
def ada(session: Session) -> dict[str, str]:
    return bearer(session)


def answer(client: TestClient, ada: dict[str, str], held: dict[str, Any], **more: Any) -> dict[str, Any]:
    body = {"verdict": "best", "choice": held["samples"][0]["id"], "strength": 3, "answers": {"wrong": "Long."}} | more
    url = f"/api/v1/comparisons/{held['comparison']}/labels"
    made = client.post(url, json=body, headers=ada | {"Idempotency-Key": "first"})
    assert made.status_code == 200, made.text
    found: dict[str, Any] = made.json()
    return found


def test_a_change_is_a_revision_and_is_what_stands(client: TestClient, run: Run, ada: dict[str, str]) -> None:
    (held,) = lease(client, run, ada)
    label = answer(client, ada, held)["label"]
    url, key = f"/api/v1/labels/{label}/revisions", ada | {"Idempotency-Key": "second"}
    changes = [client.post(url, json={"verdict": "tie"}, headers=key) for _ in range(2)]
    assert [change.json() for change in changes] == [changes[0].json()] * 2
    assert changes[0].json()["revision"] == 2
    assert client.post(url, json={"verdict": "tie"}, headers=ada | {"Idempotency-Key": "third"}).status_code == 409
    (one,) = client.get(f"/api/v1/runs/{run.id}/answers", headers=ada).json()["answers"]
    assert (one["label"], one["verdict"], one["answers"]) == (changes[0].json()["label"], "tie", {})
    assert one["lease"]["samples"] == held["samples"]


def test_strength_and_answers_are_exported(client: TestClient, run: Run, session: Session, ada: dict[str, str]) -> None:
    (held,) = lease(client, run, ada)
    answer(client, ada, held)
    (line,) = client.get(f"/api/v1/runs/{run.id}/labels", headers=bearer(session, Role.RESEARCHER)).text.splitlines()
    found = json.loads(line)
    assert (found["strength"], found["answers"], len(found["samples"])) == (3, {"wrong": "Long."}, 2)


@pytest.mark.parametrize("wrong", [{"answers": {"wrong": 3}}, {"answers": {"naive": "x"}}, {"strength": 9}])
def test_what_the_run_does_not_ask_is_refused(
    client: TestClient, run: Run, ada: dict[str, str], wrong: dict[str, Any]
) -> None:
    (held,) = lease(client, run, ada)
    body = {"verdict": "best", "choice": held["samples"][0]["id"]} | wrong
    url = f"/api/v1/comparisons/{held['comparison']}/labels"
    assert client.post(url, json=body, headers=ada | {"Idempotency-Key": "k"}).status_code == 422


def test_guidelines_are_published_read_and_named(
    client: TestClient, run: Run, session: Session, ada: dict[str, str]
) -> None:
    url = f"/api/v1/runs/{run.id}/guideline"
    assert client.get(url, headers=ada).status_code == 404
    assert client.post(url, json={"text": "One."}, headers=ada).status_code == 403
    made = client.post(url, json={"text": "One."}, headers=bearer(session, Role.RESEARCHER))
    assert made.status_code == 201
    assert client.get(url, headers=ada).json() == made.json()
    read = client.post(f"/api/v1/guidelines/{made.json()['id']}/acknowledgement", headers=ada)
    assert read.status_code == 204
    (held,) = lease(client, run, ada)
    answer(client, ada, held)
    lines = client.get(f"/api/v1/runs/{run.id}/labels", headers=bearer(session, Role.RESEARCHER)).text.splitlines()
    assert json.loads(lines[0])["guideline_version"] == 1
