"""The researchers' pages: a list, a new labeler's link, pause and resume by plain forms."""

from typing import Any

import pytest
from bs4 import BeautifulSoup
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app import andon, prompts
from app.models import Phase, Role, Run
from tests.app.web.conftest import SignIn
from tests.factories import make_run


@pytest.fixture
def run(session: Session) -> Run:
    made = make_run(session, name="<b>bold</b>", labels_usable=17)
    session.commit()
    return made


@pytest.fixture(autouse=True)
def _signed_in(client: TestClient, sign_in: SignIn) -> None:
    sign_in(client, Role.RESEARCHER)


def page(answer: Any) -> BeautifulSoup:
    """The parsed page of an answer that has one."""
    assert answer.status_code == 200, answer.text
    return BeautifulSoup(answer.text, "html.parser")


def test_the_list_names_each_run_and_escapes_what_people_typed(client: TestClient, run: Run) -> None:
    table = page(client.get("/runs")).table
    assert table is not None
    link = table.find("a", href=f"/runs/{run.id}")
    assert link is not None
    assert link.get_text() == "<b>bold</b>"
    assert "17" in [cell.get_text(strip=True) for cell in table.find_all("td")]


def test_the_list_says_whose_cord_is_pulled(client: TestClient, session: Session, run: Run) -> None:
    assert "the cord is pulled" not in client.get("/runs").text
    andon.pull(session, run.id, None, "it swears")
    make_run(session, name="another")
    session.commit()
    assert client.get("/runs").text.count("the cord is pulled") == 1


def test_labelers_do_not_see_it(client: TestClient, sign_in: SignIn) -> None:
    sign_in(client, Role.LABELER)
    for answer in (client.get("/runs"), client.post("/labelers", data={"name": "Eve"})):
        assert answer.status_code == 403


def test_a_new_labeler_gets_a_link_that_works(client: TestClient) -> None:
    field = page(client.post("/labelers", data={"name": "Grace"})).find("input", attrs={"readonly": True})
    assert field is not None
    client.cookies.clear()
    assert client.post("/signin", data={"secret": str(field["value"])}).headers["location"] == "/label"


def test_a_run_is_started_by_a_form(client: TestClient, session: Session) -> None:
    prompts.import_texts(session, "stories", [f"Story {n}" for n in range(200)])
    session.commit()
    form = {"name": "mine", "base_model": "gpt2", "preset": "sentiment-small"}
    started = client.post("/runs", data=form)
    run_id = started.headers["location"].removeprefix("/runs/")
    assert session.get_one(Run, run_id).name == "mine"


def test_pause_and_resume_by_forms(client: TestClient, session: Session, run: Run) -> None:
    assert client.post(f"/runs/{run.id}/pause", data={"note": "lunch"}).headers["location"] == f"/runs/{run.id}"
    session.refresh(run)
    assert (run.phase, run.note) == (Phase.PAUSED, "lunch")
    assert "lunch" in page(client.get("/runs")).get_text()
    assert client.post(f"/runs/{run.id}/pause").status_code == 409
    assert client.post(f"/runs/{run.id}/resume").status_code == 303
    assert client.post(f"/runs/{run.id}/explode").status_code == 422
