"""The page for oneself: password, tokens, browsers."""

from collections.abc import Iterator

import pytest
from bs4 import BeautifulSoup
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app import accounts, passwords
from app.models import Account, ApiToken, Audit, Role, Scope, SignInMethod
from app.web.deps import COOKIE
from tests.app.test_passwords import GOOD
from tests.app.web.conftest import SignIn
from tests.factories import make_account

OTHER = "velvet anchor plum seventy"


@pytest.fixture
def ada(client: TestClient, sign_in: SignIn) -> Account:
    return sign_in(client)


@pytest.fixture
def elsewhere(site: FastAPI) -> Iterator[TestClient]:
    """Another browser."""
    with TestClient(site, follow_redirects=False) as made:
        yield made


def give_password(session: Session, account: Account) -> None:
    passwords.set_password(session, account.id, login="ada", password=GOOD)
    session.execute(text("update web_session set created_at = now() - interval '16 minutes'"))
    session.commit()


def sign_in_with(client: TestClient, login: str, password: str) -> int:
    return client.post("/signin/password", data={"login": login, "password": password}).status_code


def test_a_first_password_needs_no_other_and_signs_in(client: TestClient, ada: Account, elsewhere: TestClient) -> None:
    assert ada.login is None
    assert client.post("/me/password", data={"login": "Ada", "password": GOOD}).status_code == 200
    assert sign_in_with(elsewhere, "ada", GOOD) == 303
    assert elsewhere.get("/").headers["location"] == "/label"


def test_a_new_password_takes_the_old_one_and_signs_out_other_browsers(
    client: TestClient, session: Session, ada: Account, elsewhere: TestClient
) -> None:
    give_password(session, ada)
    assert sign_in_with(elsewhere, "ada", GOOD) == 303
    client.cookies.clear()
    assert sign_in_with(client, "ada", GOOD) == 303
    form = {"login": "ada", "password": OTHER}
    assert client.post("/me/password", data=form | {"current": "wrong"}).status_code == 403
    before = client.cookies[COOKIE]
    assert client.post("/me/password", data=form | {"current": GOOD}).status_code == 200
    assert client.cookies[COOKIE] != before, "a new session after a change of rights"
    assert client.get("/me").status_code == 200
    assert elsewhere.get("/").headers["location"] == "/signin"
    assert (sign_in_with(elsewhere, "ada", GOOD), sign_in_with(elsewhere, "ada", OTHER)) == (403, 303)


def test_a_forgotten_password_is_reset_by_a_fresh_link(
    client: TestClient, session: Session, ada: Account, elsewhere: TestClient
) -> None:
    give_password(session, ada)
    assert client.post("/me/password", data={"login": "ada", "password": OTHER}).status_code == 403
    secret = accounts.invite(session, ada.id, days=1)
    session.commit()
    assert elsewhere.post(f"/signin/{secret}").status_code == 303
    assert elsewhere.post("/me/password", data={"login": "ada", "password": OTHER}).status_code == 200
    assert sign_in_with(client, "ada", OTHER) == 303


def test_an_easy_password_is_refused_with_its_reason_and_changes_nothing(client: TestClient, ada: Account) -> None:
    answer = client.post("/me/password", data={"login": "ada", "password": "password1234"})
    assert answer.status_code == 422
    alert = BeautifulSoup(answer.text, "html.parser").find("p", attrs={"role": "alert"})
    assert alert is not None
    assert "easy to guess" in alert.get_text()
    assert client.get("/me").status_code == 200, ada


def test_a_token_is_shown_once_and_does_what_it_may(
    client: TestClient, session: Session, ada: Account, elsewhere: TestClient
) -> None:
    form = {"name": "export", "scopes": ["read"], "days": "30"}
    made = BeautifulSoup(client.post("/me/tokens", data=form).text, "html.parser").find("input", readonly=True)
    assert made is not None
    headers = {"Authorization": f"Bearer {made['value']}"}
    assert elsewhere.get("/api/v1/me", headers=headers).json()["scopes"] == ["read"]
    assert str(made["value"]) not in client.get("/me").text
    (row,) = session.scalars(select(ApiToken))
    assert client.post(f"/me/tokens/{row.id}/revoke").headers["location"] == "/me"
    assert elsewhere.get("/api/v1/me", headers=headers).status_code == 401
    actions = session.scalars(select(Audit.action).where(Audit.actor_id == ada.id)).all()
    assert {"token.issued", "token.revoked"} <= set(actions)


def test_a_token_has_no_page_for_oneself(client: TestClient, session: Session) -> None:
    token = accounts.issue_token(session, make_account(session).id, "all")
    session.commit()
    answer = client.get("/me", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 403


def test_a_browser_signed_in_with_a_weak_token_cannot_grant_itself_more(client: TestClient, session: Session) -> None:
    boss = make_account(session, role=Role.OPERATOR)
    token = accounts.issue_token(session, boss.id, "all but manage", scopes=[Scope.READ, Scope.LABEL])
    session.commit()
    assert client.post("/signin", data={"secret": token}).headers["location"] == "/runs"
    assert client.get("/people").status_code == 200
    assert client.post("/people/invitations", data={"role": "operator", "uses": 1, "days": 1}).status_code == 403
    assert client.post("/me/password", data={"login": "ada", "password": GOOD}).status_code == 403
    assert client.post("/me/tokens", data={"name": "x", "scopes": ["manage"], "days": 1}).status_code == 403


def test_sign_out_everywhere_keeps_this_browser_only(
    client: TestClient, session: Session, ada: Account, elsewhere: TestClient
) -> None:
    elsewhere.cookies.set(COOKIE, accounts.open_session(session, ada.id, days=1, method=SignInMethod.LINK))
    session.commit()
    assert elsewhere.get("/").headers["location"] == "/label"
    assert client.post("/me/sessions/revoke").status_code == 303
    assert elsewhere.get("/").headers["location"] == "/signin"
    assert client.get("/").headers["location"] == "/label"


def test_one_browser_is_signed_out_from_another(client: TestClient, session: Session, ada: Account) -> None:
    cookie = accounts.open_session(session, ada.id, days=1, browser="Phone <b>")
    session.commit()
    page = client.get("/me").text
    assert "Phone &lt;b&gt;" in page
    (phone,) = (one for one in accounts.sessions(session, ada.id) if one.browser)
    assert client.post(f"/me/sessions/{phone.id}/revoke").status_code == 303
    assert accounts.access_of_session(session, cookie) is None
