"""The pages and the API on labelers: who may see them, what they say, leaving somebody out."""

import pytest
from bs4 import BeautifulSoup
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import labeling
from app.models import Agreement, CheckpointKind, Job, JobState, LabelSet, LabelSetItem, Role
from app.usable import count_training
from tests.app.test_labeling import best, lease
from tests.app.web.conftest import SignIn
from tests.factories import make_account, make_checkpoint, make_comparison, make_run


def test_a_researcher_sees_everybody_and_leaves_somebody_out(
    client: TestClient, session: Session, sign_in: SignIn
) -> None:
    run, ada = make_run(session), make_account(session, "Ada Lovelace")
    make_comparison(session, run)
    best(session, ada, lease(session, ada, run)[0])
    sign_in(client, Role.RESEARCHER, name="Eve")
    page = BeautifulSoup(client.get(f"/runs/{run.id}/quality").text, "html.parser")
    rows = [row.get_text(" ", strip=True) for row in page.select("tbody tr")]
    assert rows[0].startswith("Everybody 1")
    assert rows[1].startswith("Ada Lovelace 1")
    own = f"/runs/{run.id}/labelers/{ada.id}"
    assert own in [link["href"] for link in page.select("tbody a")]
    assert client.post(f"{own}/exclude", data={"reason": "too <fast>"}).headers["location"] == own
    session.expire_all()
    assert count_training(session, run.id) == 0
    text = client.get(own).text
    assert "Excluded: too &lt;fast&gt;" in text
    assert client.get(f"/api/v1{own}").json()["excluded"] == "too <fast>"
    assert client.post(f"/api/v1{own}/include").status_code == 204
    assert client.post(f"/api/v1{own}/include").status_code == 409
    session.expire_all()
    assert count_training(session, run.id) == 1
    found = client.get(f"/api/v1/runs/{run.id}/quality").json()
    assert (found["everybody"]["answers"], found["agreement"], found["labelers"][0]["excluded"]) == (1, None, None)


def test_what_was_flagged_is_looked_at_and_put_back(client: TestClient, session: Session, sign_in: SignIn) -> None:
    run, ada = make_run(session), make_account(session, "Ada Lovelace")
    made = [make_comparison(session, run, texts=("a", "b", "<c>", "d")) for _ in range(2)]
    for one in lease(session, ada, run, 2):
        labeling.flag(session, ada.id, one.comparison_id, "harmful: <b>")
    sign_in(client, Role.RESEARCHER, name="Eve")
    url = f"/runs/{run.id}/quality"
    flagged = BeautifulSoup(client.get(url).text, "html.parser").select("#flagged article")
    assert len(flagged) == 2
    assert "harmful: <b>" in flagged[0].get_text()
    assert [text.get_text() for text in flagged[0].select("li")] == ["a", "b", "<c>", "d"]
    form = flagged[0].select_one("form")
    assert form is not None
    assert client.post(str(form["action"])).headers["location"] == f"{url}#flagged"
    (left,) = client.get(f"/api/v1{url}").json()["flagged"]
    assert left["comparison"] == str(made[0].id)
    assert client.delete(f"/api/v1/comparisons/{made[0].id}/flag").status_code == 204
    assert client.delete(f"/api/v1/comparisons/{made[0].id}/flag").status_code == 409
    assert client.get(f"/api/v1{url}").json()["flagged"] == []


def test_who_agrees_with_whom_is_a_matrix(client: TestClient, session: Session, sign_in: SignIn) -> None:
    run = make_run(session)
    people = [make_account(session, name) for name in ("Chen", "ada", "Bob")]
    for person in people:
        make_comparison(session, run)
        best(session, person, lease(session, person, run)[0])
    chen, ada, bob = (str(person.id) for person in people)
    pairs = [{"one": chen, "other": ada, "n": 4, "hits": 3}, {"one": bob, "other": chen, "n": 2, "hits": 0}]
    figures = {"alpha": None, "percent": {"value": 0.5, "low": 0.1, "high": 0.9}, "weights": {chen: 0.5}}
    session.add(Agreement(run_id=run.id, labels=6, report={"comparisons": 3, "labels": 6, "pairs": pairs} | figures))
    sign_in(client, Role.RESEARCHER, name="Eve")
    page = BeautifulSoup(client.get(f"/runs/{run.id}/quality").text, "html.parser")
    rows = [[cell.get_text(" ", strip=True) for cell in row.select("th, td")] for row in page.select(".q-matrix tr")]
    assert rows[0] == ["", "ada", "Bob", "Chen"]
    assert [row[0] for row in rows[1:]] == ["ada", "Bob", "Chen"]
    told = [[cell.split(" %")[0] for cell in row[1:]] for row in rows[1:]]
    assert told == [["·", "–", "75"], ["–", "·", "0"], ["75", "0", "·"]]
    assert "50 % 10–90" in page.select(".q-tiles dd")[1].get_text()


@pytest.mark.parametrize("path", ["/runs/{run}/quality", "/runs/{run}/labelers/{me}"])
@pytest.mark.parametrize("prefix", ["", "/api/v1"])
def test_labelers_see_none_of_it(client: TestClient, session: Session, sign_in: SignIn, path: str, prefix: str) -> None:
    run = make_run(session)
    me = sign_in(client)
    assert client.get(prefix + path.format(run=run.id, me=me.id)).status_code == 403
    assert client.post(f"/api/v1/runs/{run.id}/labelers/{me.id}/include").status_code == 403


def test_what_would_change_is_asked_for_and_told_before_anybody_is_left_out(
    client: TestClient, session: Session, sign_in: SignIn
) -> None:
    run, ada = make_run(session), make_account(session, "Ada Lovelace")
    make_comparison(session, run)
    best(session, ada, lease(session, ada, run)[0])
    sign_in(client, Role.RESEARCHER, name="Eve")
    own = f"/runs/{run.id}/labelers/{ada.id}"
    assert client.post(f"{own}/without").headers["location"] == f"{own}#without"
    job = session.scalars(select(Job)).one()
    assert "Reward models are being fitted" in client.get(own).text
    job.state, job.finished_at = JobState.DONE, job.created_at
    change, less = {"value": 0.05, "low": 0.01, "high": 0.09}, {"value": -0.02, "low": -0.06, "high": 0.02}
    shares = {"accuracy": 0.5, "accuracy_without": 0.55, "accuracy_fewer": 0.48, "change": change, "change_fewer": less}
    counts = {"labels": 90, "theirs": 30, "others": 60, "held_out": 60, "gained": 5, "lost": 2}
    job.result = shares | counts | {"loss_change": {"value": -0.1, "low": -0.2, "high": 0.0}}
    session.commit()
    page = BeautifulSoup(client.get(own).text, "html.parser")
    told = page.select_one("#without")
    assert told is not None
    said = told.get_text(" ", strip=True)
    assert "right more often without them" in said
    assert "Without Ada Lovelace 60 55.0 % +5.0 +1.0 to +9.0" in said
    assert page.find("form", action=f"{own}/exclude") is not None  # the next click
    assert client.post(f"/api/v1{own}/without").status_code == 202


def test_what_learned_from_somebody_is_a_click_away(client: TestClient, session: Session, sign_in: SignIn) -> None:
    run, ada, bob = make_run(session), make_account(session, "Ada Lovelace"), make_account(session, "Bob")
    labels = []
    for person in (ada, bob):
        make_comparison(session, run)
        labels.append(best(session, person, lease(session, person, run)[0]).label_id)
    learned = LabelSet(run_id=run.id, size=2)
    session.add(learned)
    session.flush()
    session.add_all(LabelSetItem(label_set_id=learned.id, label_id=one) for one in labels)
    kind = CheckpointKind.REWARD_MODEL
    model = make_checkpoint(session, run, kind=kind, number=4, label_set_id=learned.id)
    policy = make_checkpoint(session, run, number=7, reward_model_id=model.id)
    sign_in(client, Role.RESEARCHER, name="Eve")
    told = BeautifulSoup(client.get(f"/runs/{run.id}/labelers/{ada.id}").text, "html.parser").select_one("#taught li")
    assert told is not None
    assert told.get_text() == "reward model 4: 1 of 2 labels; by it policy 7"
    assert [link["href"] for link in told.find_all("a")] == [f"/checkpoints/{model.id}", f"/checkpoints/{policy.id}"]
