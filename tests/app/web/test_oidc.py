"""Single sign-on with a real provider on a port: who comes in, who does not, and no bent answer passes."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.main import create_app
from app.models import Account, Role
from app.settings import Settings
from tests.app.web.conftest import SignIn
from tests.app.web.provider import CLIENT_ID, CLIENT_SECRET, OpenIdProvider, serving_provider
from tests.factories import make_account


@pytest.fixture
def provider() -> Iterator[OpenIdProvider]:
    with serving_provider() as made:
        yield made


@pytest.fixture
def settings(settings: Settings, provider: OpenIdProvider) -> Settings:
    changes = {
        "secret_key": SecretStr("k" * 32),
        "public_url": "http://testserver",
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": SecretStr(CLIENT_SECRET),
        "oidc_new_role": "labeler",
    }
    return settings.model_copy(update=changes)


def way_back(client: TestClient) -> str:
    """To the provider and up to its door: the address it sends the browser back to."""
    start = client.get("/signin/oidc/start")
    assert start.status_code == 303, start.text
    answer = httpx.get(start.headers["location"], trust_env=False)
    assert answer.status_code == 302, answer.text
    return answer.headers["location"]


def come_back(client: TestClient) -> Any:
    return client.get(way_back(client))


def test_a_new_person_comes_in_once_as_a_labeler_and_later_as_the_same(client: TestClient, session: Session) -> None:
    for _ in range(2):
        client.cookies.clear()
        assert come_back(client).headers["location"] == "/label"
    (ada,) = session.scalars(select(Account))
    assert (ada.name, ada.role) == ("Ada", Role.LABELER)
    assert "Single sign-on" in client.get("/signin").text


def test_unknown_people_are_turned_away_where_nobody_is_taken_in(settings: Settings, session: Session) -> None:
    closed = settings.model_copy(update={"oidc_new_role": None})
    with TestClient(create_app(closed), follow_redirects=False) as client:
        assert come_back(client).status_code == 403
    assert session.scalars(select(Account)).all() == []


def test_somebody_signed_in_connects_their_account(client: TestClient, session: Session, sign_in: SignIn) -> None:
    grace = sign_in(client, Role.RESEARCHER, name="Grace")
    assert come_back(client).headers["location"] == "/me"
    client.cookies.clear()
    assert come_back(client).headers["location"] == "/runs"
    assert session.scalars(select(Account)).all() == [grace]


def test_a_disabled_account_stays_out(client: TestClient, session: Session, provider: OpenIdProvider) -> None:
    made = make_account(session)
    made.oidc_subject, made.disabled_at = f"{provider.issuer} 4711", made.created_at
    session.commit()
    assert come_back(client).status_code == 403


@pytest.mark.parametrize(
    "bend",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "somebody-else"},
        {"iss": "https://elsewhere.example"},
        {"exp": int(time.time()) - 3600},
        {"azp": "somebody-else"},
        {"sub": None},
    ],
)
def test_a_bent_token_lets_nobody_in(
    client: TestClient, session: Session, provider: OpenIdProvider, bend: dict[str, Any]
) -> None:
    provider.bend = bend
    assert come_back(client).status_code == 403
    assert session.scalars(select(Account)).all() == []


def test_a_token_signed_by_another_key_lets_nobody_in(client: TestClient, provider: OpenIdProvider) -> None:
    provider.foreign_key = True
    assert come_back(client).status_code == 403


def test_an_answer_counts_once_and_in_its_own_browser_only(client: TestClient, settings: Settings) -> None:
    url = way_back(client)
    with TestClient(create_app(settings), follow_redirects=False) as victim:
        assert victim.get(url).status_code == 403, "no trip was begun in this browser"
        way_back(victim)
        assert victim.get(url).status_code == 403, "another trip was"
    assert client.get(url).status_code == 303
    assert client.get(url).status_code == 403


def test_a_provider_that_is_gone_leaves_the_other_ways_in(settings: Settings) -> None:
    gone = settings.model_copy(update={"oidc_issuer": "http://127.0.0.1:9"})
    with TestClient(create_app(gone), follow_redirects=False) as client:
        answer = client.get("/signin/oidc/start")
        assert answer.status_code == 503
        assert "use a link or password" in answer.text
        assert client.get("/signin").status_code == 200


def test_half_a_configuration_is_refused() -> None:
    with pytest.raises(ValidationError, match="PREFLOOP_SECRET_KEY"):
        Settings(oidc_issuer="https://id.example", oidc_client_id="x")
