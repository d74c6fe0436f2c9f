"""Signing in: links work once, previews do not use them up, sessions end at sign-out."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app import accounts, passwords
from app.main import create_app
from app.models import Account, Audit, Role
from app.settings import Settings
from app.web.deps import COOKIE
from tests.app.test_passwords import GOOD
from tests.factories import make_account


@pytest.fixture
def ada(session: Session) -> Account:
    return make_account(session)


@pytest.fixture
def link(session: Session, ada: Account) -> str:
    token = accounts.invite(session, ada.id, days=1)
    session.commit()
    return f"/signin/{token}"


def test_a_stranger_is_led_to_the_sign_in_page(client: TestClient) -> None:
    answer = client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/signin")


def test_looking_at_a_link_does_not_use_it_up(client: TestClient, link: str) -> None:
    for _ in range(3):
        assert client.get(link).status_code == 200
    assert client.post(link).headers["location"] == "/label"


def test_a_link_signs_in_once(client: TestClient, link: str) -> None:
    first = client.post(link)
    cookie = first.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie
    client.cookies.clear()
    again = client.post(link)
    assert again.status_code == 409
    assert "has been used" in again.text
    assert COOKIE not in again.cookies


@pytest.mark.parametrize("pasted", ["http://elsewhere:8000{link}", "{link}/", "{token}", "  {token}\n"])
def test_a_pasted_link_or_token_signs_in(client: TestClient, link: str, pasted: str) -> None:
    secret = pasted.format(link=link, token=link.rsplit("/", 1)[1])
    assert client.post("/signin", data={"secret": secret}).headers["location"] == "/label"
    assert client.get("/").headers["location"] == "/label"


def test_an_api_token_signs_a_browser_in_again_and_again(client: TestClient, session: Session, ada: Account) -> None:
    token = accounts.issue_token(session, ada.id, "mine")
    session.commit()
    for _ in range(2):
        client.cookies.clear()
        assert client.post("/signin", data={"secret": token}).status_code == 303
        assert client.get("/").headers["location"] == "/label"


def test_each_role_starts_where_it_works(client: TestClient, session: Session) -> None:
    for role, page in ((Role.LABELER, "/label"), (Role.RESEARCHER, "/runs"), (Role.OPERATOR, "/runs")):
        token = accounts.invite(session, make_account(session, role=role).id, days=1)
        session.commit()
        assert client.post(f"/signin/{token}").headers["location"] == page


def test_signing_out_ends_the_session_on_the_server(client: TestClient, link: str) -> None:
    client.post(link)
    secret = client.cookies[COOKIE]
    assert client.post("/signout").headers["location"] == "/signin"
    client.cookies.set(COOKIE, secret)
    assert client.get("/").headers["location"] == "/signin"


def test_a_wrong_link_says_so(client: TestClient) -> None:
    answer = client.post("/signin/nonsense")
    assert answer.status_code == 404
    assert "Nobody made this sign-in link" in answer.text


def give_password(session: Session, ada: Account) -> None:
    passwords.set_password(session, ada.id, login="ada", password=GOOD)
    session.commit()


def by_password(client: TestClient, password: str) -> int:
    return client.post("/signin/password", data={"login": "ada", "password": password}).status_code


def test_after_ten_wrong_passwords_even_the_right_one_must_wait(
    client: TestClient, session: Session, ada: Account
) -> None:
    give_password(session, ada)
    assert [by_password(client, f"wrong {n}") for n in range(10)] == [403] * 10
    answer = client.post("/signin/password", data={"login": "ada", "password": GOOD})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 900


def test_a_wrong_password_is_in_the_audit_log_without_what_was_typed(
    client: TestClient, session: Session, ada: Account
) -> None:
    give_password(session, ada)
    assert by_password(client, "wrong") == 403
    typed = {"login": "the secret typed into the wrong field", "password": "x"}
    assert client.post("/signin/password", data=typed).status_code == 403
    rows = session.scalars(
        select(Audit).where(Audit.action == "account.sign_in_failed").order_by(Audit.created_at)
    ).all()
    assert [(row.actor_id, row.detail["account"]) for row in rows] == [(None, str(ada.id)), (None, None)]
    assert all(row.detail["address"] for row in rows)
    assert not any("wrong" in str(row.detail) for row in rows)


def test_failures_in_the_audit_log_are_as_few_as_tries_are_let_through(
    client: TestClient, session: Session, ada: Account
) -> None:
    give_password(session, ada)
    assert [by_password(client, f"wrong {n}") for n in range(12)] == [403] * 10 + [429] * 2
    failed = select(func.count()).where(Audit.action == "account.sign_in_failed")
    assert session.scalar(failed) == 10


def test_signing_in_ends_the_session_that_the_browser_had(client: TestClient, session: Session, ada: Account) -> None:
    give_password(session, ada)
    assert by_password(client, GOOD) == 303
    first = client.cookies[COOKIE]
    assert by_password(client, GOOD) == 303
    assert client.cookies[COOKIE] != first
    assert accounts.access_of_session(session, first) is None


def test_over_https_the_cookie_can_be_planted_by_nobody_else(settings: Settings, link: str) -> None:
    https = create_app(settings.model_copy(update={"public_url": "https://label.example"}))
    with TestClient(https, base_url="https://label.example", follow_redirects=False) as client:
        cookie = client.post(link).headers["set-cookie"]
        assert cookie.startswith(f"__Host-{COOKIE}=")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
        assert client.get("/").headers["location"] == "/label"
        secret = client.cookies[f"__Host-{COOKIE}"]
        client.cookies.clear()
        assert client.get("/", headers={"cookie": f"{COOKIE}={secret}"}).headers["location"] == "/signin"


def test_an_expired_token_signs_nobody_in(client: TestClient, session: Session, ada: Account) -> None:
    token = accounts.issue_token(session, ada.id, "old", days=1)
    session.execute(text("update api_token set expires_at = now() - interval '1 second'"))
    session.commit()
    assert client.post("/signin", data={"secret": token}).status_code == 404
