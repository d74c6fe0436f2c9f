"""A new run from a form: filled in from a preset or a run, refused at the field, started with what was typed."""

from typing import Any

import pytest
from bs4 import BeautifulSoup
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import prompts, runs
from app.hparams import preset
from app.models import Audit, Checkpoint, Phase, Role, Run, Standing
from tests.app.web.conftest import SignIn
from tests.factories import make_checkpoint, make_run


@pytest.fixture(autouse=True)
def _signed_in(client: TestClient, sign_in: SignIn) -> None:
    sign_in(client, Role.RESEARCHER)


@pytest.fixture(autouse=True)
def _prompts(session: Session) -> None:
    prompts.import_texts(session, "stories", (f"Story {number} began and" for number in range(200)))
    session.commit()


def page(answer: Any, status: int = 200) -> BeautifulSoup:
    assert answer.status_code == status, answer.text
    return BeautifulSoup(answer.text, "html.parser")


def fields(form: BeautifulSoup) -> dict[str, str]:
    """What a browser would send."""
    found = form.find(id="settings")
    assert found is not None
    sent = {str(one["name"]): str(one.get("value", "")) for one in found.find_all("input")}
    sent |= {str(one["name"]): one.get_text().removeprefix("\n") for one in found.find_all("textarea")}
    for one in found.find_all("select"):
        chosen = one.find("option", selected=True)
        assert chosen is not None
        sent[str(one["name"])] = str(chosen.get("value", chosen.get_text()))
    return sent


def test_a_preset_sent_back_as_it_is_starts_that_preset(client: TestClient, session: Session) -> None:
    sent = fields(page(client.get("/runs/new?origin=descriptiveness-small")))
    answer = client.post("/runs/new", data=sent | {"name": "vivid", "base_model": "gpt2"}, follow_redirects=False)
    assert answer.status_code == 303
    run = session.scalars(select(Run)).one()
    assert answer.headers["location"] == f"/runs/{run.id}"
    assert (run.name, run.base_model, runs.hparams_of(run).preset) == ("vivid", "gpt2", "descriptiveness-small")
    assert runs.hparams_of(run) == preset("descriptiveness-small")


def test_mistakes_stand_at_their_fields_and_nothing_is_lost(client: TestClient, session: Session) -> None:
    sent = fields(page(client.get("/runs/new"))) | {"name": "x", "base_model": "gpt2", "ppo.batch": "many"}
    form = page(client.post("/runs/new", data=sent), 422)
    fault = form.find(id="fault-ppo.batch")
    assert fault is not None
    assert "valid integer" in fault.get_text()
    field = form.find(id="ppo.batch")
    assert field is not None
    assert (field["value"], field["aria-invalid"]) == ("many", "true")
    assert session.scalars(select(Run)).all() == []


def test_the_page_can_ask_before_it_sends(client: TestClient) -> None:
    texts = {"origin": "sentiment-small", "schedule.initial_labels": "900"}
    assert client.post("/runs/check", data=texts).json() == {"schedule": "initial_labels must not exceed total_labels"}
    assert client.post("/runs/check", data={"origin": "sentiment-small"}).json() == {}


def test_a_clone_begins_with_the_settings_of_its_origin(client: TestClient, session: Session) -> None:
    origin = make_run(
        session, name="first", hparams=runs.hparams_of(make_run(session)).model_dump(mode="json") | {"seed": 9}
    )
    session.commit()
    sent = fields(page(client.get(f"/runs/new?origin={origin.id}")))
    assert (sent["name"], sent["seed"]) == ("first again", "9")
    made = client.post(f"/api/v1/runs/{origin.id}/clone", json={"name": "second", "hparams": {"ppo": {"lam": 0.9}}})
    assert made.status_code == 201, made.text
    clone = session.get_one(Run, made.json()["id"])
    assert (runs.hparams_of(clone).seed, runs.hparams_of(clone).ppo.lam) == (9, 0.9)
    wrong = client.post(f"/api/v1/runs/{origin.id}/clone", json={"name": "x", "hparams": {"ppo": {"lam": 9}}})
    assert (wrong.status_code, "ppo.lam" in wrong.json()["detail"]) == (422, True)


def test_runs_are_compared_by_settings_and_curves(client: TestClient, session: Session) -> None:
    one = make_run(session, name="one")
    other = make_run(session, name="other", hparams=runs.hparams_of(one).model_dump(mode="json") | {"seed": 9})
    session.commit()
    table = page(client.get(f"/runs/compare?run={one.id}&run={other.id}")).find(id="differences")
    assert table is not None
    assert [cell.get_text() for cell in table.find_all("td")] == ["0", "9"]
    curves = client.get(f"/runs/compare.json?run={one.id}&run={other.id}&name=objective/kl").json()
    assert set(curves) == {str(one.id), str(other.id)}
    assert client.get(f"/runs/{one.id}/curves.csv").text.startswith("metric,step,value")
    told = client.get("/api/v1/runs/compare", params={"run": [str(one.id), str(other.id)]}).json()
    assert ([run["name"] for run in told["runs"]], told["differences"]) == (["one", "other"], {"seed": [0, 9]})
    assert client.get("/api/v1/runs/compare").status_code == 422


def test_finish_and_roll_back_over_the_api(client: TestClient, session: Session) -> None:
    run = make_run(session, episodes=640)
    policy = make_checkpoint(session, run, episodes=320, standing=Standing.APPROVED)
    session.commit()
    answer = client.post(f"/api/v1/runs/{run.id}/rollback", json={"checkpoint": str(policy.id), "note": "worse"})
    assert (answer.status_code, answer.json()["episodes"]) == (200, 320)
    assert client.post(f"/api/v1/runs/{run.id}/finish").json()["phase"] == Phase.FINISHED
    assert client.post(f"/api/v1/runs/{run.id}/resume").status_code == 409
    actions = set(session.scalars(select(Audit.action).where(Audit.run_id == run.id)))
    assert {"run.rolled_back", "run.finished"} <= actions
    assert session.get_one(Checkpoint, policy.id).standing == Standing.APPROVED
    assert page(client.get(f"/checkpoints/{policy.id}")).h1 is not None


def test_settings_are_documented_over_the_api(client: TestClient) -> None:
    found = client.get("/api/v1/presets/sentiment-small").json()["settings"]
    (batch,) = [one for one in found if one["path"] == "ppo.batch"]
    assert (batch["value"], batch["description"]) == (32, "Episodes per update.")
    assert "sentiment-small" in client.get("/api/v1/presets").json()["presets"]
