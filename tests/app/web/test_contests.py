"""Blind head-to-heads over pages and API: asked for, listed, refused with a sentence."""

import pytest
from bs4 import BeautifulSoup
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kinds import JobKind, Split
from app.models import ComparisonSample, Contest, ContestItem, Job, Purpose, Role, Run
from tests.app.web.conftest import SignIn
from tests.factories import make_checkpoint, make_comparison, make_prompt, make_run


@pytest.fixture
def run(session: Session) -> Run:
    made = make_run(session)
    make_checkpoint(session, made, number=3, report={"kl": 4.0})
    for _ in range(8):
        make_prompt(session, split=Split.TEST)
    session.commit()
    return made


@pytest.fixture(autouse=True)
def _signed_in(client: TestClient, sign_in: SignIn) -> None:
    sign_in(client, Role.RESEARCHER)


def test_a_contest_is_asked_for_and_shown(client: TestClient, session: Session, run: Run) -> None:
    form = {"left": "policy 3", "right": "reference", "prompts": "8", "per_side": "2", "labelers": "3"}
    answer = client.post(f"/runs/{run.id}/contests", data=form, follow_redirects=False)
    made = session.scalars(select(Contest)).one()
    assert (answer.status_code, answer.headers["location"]) == (303, f"/contests/{made.id}")
    assert session.scalars(select(Job.args).where(Job.kind == JobKind.CONTEST)).all() == [{"contest": str(made.id)}]
    page = BeautifulSoup(client.get(f"/contests/{made.id}").text, "html.parser")
    assert page.h1 is not None
    assert page.h1.get_text() == "policy 3 against reference"
    table = BeautifulSoup(client.get(f"/runs/{run.id}/contests").text, "html.parser").find(id="results")
    assert table is not None
    assert "policy 3" in table.get_text()


def test_a_mistake_is_said_on_the_page_and_over_the_api(client: TestClient, run: Run) -> None:
    answer = client.post(f"/runs/{run.id}/contests", data={"left": "policy 9", "right": "reference"})
    assert answer.status_code == 422
    assert "is no writer" in answer.text
    told = client.post(f"/api/v1/runs/{run.id}/contests", json={"left": "policy 3", "prompts": 9})
    assert told.json()["detail"] == "Choose 1 to 8 prompts: 'stories' has 8 test prompts."


def test_the_api_makes_lists_and_shows_it(client: TestClient, run: Run) -> None:
    made = client.post(f"/api/v1/runs/{run.id}/contests", json={"left": "policy 3", "prompts": 4}).json()
    assert (made["left"], made["right"], made["written_at"]) == ("policy 3", "reference", None)
    assert [one["id"] for one in client.get(f"/api/v1/runs/{run.id}/contests").json()["contests"]] == [made["id"]]
    shown = client.get(f"/api/v1/contests/{made['id']}").json()
    assert (shown["comparisons"], shown["win_rate"], shown["examples"]) == (0, None, [])


def test_a_session_of_its_own_is_asked_for_labeled_and_refused_to_others(
    client: TestClient, session: Session, run: Run
) -> None:
    form = {"left": "policy 3", "right": "reference", "prompts": "2", "labelers": "1", "own_session": "true"}
    client.post(f"/runs/{run.id}/contests", data=form)
    made = session.scalars(select(Contest)).one()
    assert made.own_session
    both = [make_comparison(session, run, texts=("left", "right"), purpose=Purpose.SESSION).id for _ in range(2)]
    for one in both:
        of_it = select(ComparisonSample.sample_id).where(ComparisonSample.comparison_id == one)
        left = session.scalars(of_it.order_by(ComparisonSample.slot)).all()[:1]
        session.add(ContestItem(comparison_id=one, contest_id=made.id, left_samples=list(left)))
    session.commit()
    assert f"/contests/{made.id}/label" in client.get(f"/contests/{made.id}").text
    own = client.get(f"/runs/{run.id}/label").text
    assert f'<a href="/contests/{made.id}/label">2 comparisons</a>' in own
    desk = BeautifulSoup(client.get(f"/contests/{made.id}/label").text, "html.parser").find(id="desk")
    assert desk is not None
    assert desk["data-place"] == f"/contests/{made.id}"
    lent = client.post(f"/api/v1/contests/{made.id}/leases", json={"count": 4}).json()
    assert {lease["comparison"] for lease in lent["leases"]} == set(map(str, both))
    said = {"verdict": "tie", "choice": None}
    for one in both:
        headers = {"Idempotency-Key": str(one)}
        assert client.post(f"/api/v1/comparisons/{one}/labels", json=said, headers=headers).status_code == 200
    progress = client.get(f"/api/v1/contests/{made.id}/progress").json()
    assert (progress["mine"], progress["team"], progress["goal"]) == (2, 2, 2)
    queued = client.post(f"/api/v1/runs/{run.id}/contests", json={"left": "policy 3", "prompts": 2}).json()
    assert client.get(f"/contests/{queued['id']}/label").headers["location"] == f"/runs/{run.id}/label"
    assert client.post(f"/api/v1/contests/{queued['id']}/leases", json={"count": 1}).status_code == 409
    table = client.get(f"/runs/{run.id}/contests.csv").text.splitlines()
    assert table[0].startswith("contest,left,right,wins")
    assert len(table) == 3
    assert "<circle" in client.get(f"/runs/{run.id}/contests").text  # the ties stand on the curve
    assert "<circle" in client.get(f"/runs/{run.id}/report").text
