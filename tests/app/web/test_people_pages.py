"""The page of people: an invitation becomes an account, and researchers see what they may do, no more."""

from bs4 import BeautifulSoup
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Account, Role
from tests.app.test_passwords import GOOD
from tests.app.web.conftest import SignIn
from tests.factories import make_account


def shown(answer_text: str) -> str:
    """The secret that a page shows once."""
    field = BeautifulSoup(answer_text, "html.parser").find("input", attrs={"readonly": True})
    assert field is not None
    return str(field["value"])


def test_an_invitation_becomes_an_account(client: TestClient, session: Session, sign_in: SignIn) -> None:
    sign_in(client, Role.RESEARCHER)
    link = shown(client.post("/people/invitations", data={"role": "labeler", "uses": 1, "days": 7}).text)
    client.cookies.clear()
    path = link.removeprefix("http://127.0.0.1:8000")
    assert client.post("/signin", data={"secret": link}).headers["location"] == path
    form = {"name": "Grace", "login": "grace", "password": "password1234"}
    assert client.post(path, data=form).status_code == 422, "an easy password does not cost the invitation"
    assert client.post(path, data=form | {"password": GOOD}).headers["location"] == "/label"
    grace = session.scalars(select(Account).where(Account.login == "grace")).one()
    assert (grace.name, grace.role) == ("Grace", Role.LABELER)
    again = client.post(path, data=form | {"login": "eve", "password": GOOD})
    assert again.status_code == 409
    assert "has been used" in again.text


def test_a_researcher_sees_no_button_that_would_be_refused(
    client: TestClient, session: Session, sign_in: SignIn
) -> None:
    sign_in(client, Role.RESEARCHER)
    boss, ada = make_account(session, name="Boss", role=Role.OPERATOR), make_account(session)
    session.commit()
    page = BeautifulSoup(client.get("/people").text, "html.parser")
    actions = {str(form["action"]) for form in page.find_all("form")}
    assert f"/people/{ada.id}/disable" in actions
    assert not [action for action in actions if str(boss.id) in action or action.endswith("/role")]
    assert client.post(f"/people/{boss.id}/disable").status_code == 403
    assert client.post(f"/people/{ada.id}/role", data={"role": "researcher"}).status_code == 403


def test_an_operator_disables_promotes_and_helps(client: TestClient, session: Session, sign_in: SignIn) -> None:
    sign_in(client, Role.OPERATOR)
    ada = make_account(session)
    session.commit()
    assert client.post(f"/people/{ada.id}/role", data={"role": "researcher"}).status_code == 303
    link = shown(client.post(f"/people/{ada.id}/link").text)
    assert client.post(f"/people/{ada.id}/disable").headers["location"] == "/people"
    session.refresh(ada)
    assert (ada.role, ada.disabled_at is not None) == (Role.RESEARCHER, True)
    assert "(disabled)" in client.get("/people").text
    assert client.post("/signin", data={"secret": link}).status_code == 404
    client.post(f"/people/{ada.id}/enable")
    session.refresh(ada)
    assert ada.disabled_at is None


def test_labelers_do_not_see_people(client: TestClient, sign_in: SignIn) -> None:
    sign_in(client)
    assert client.get("/people").status_code == 403
    assert 'href="/people"' not in client.get("/me").text
