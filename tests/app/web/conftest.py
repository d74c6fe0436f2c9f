"""The site as a whole, called over HTTP without a network."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app import accounts
from app.main import create_app
from app.models import Account, Role
from app.settings import Settings
from app.web.deps import COOKIE
from tests.factories import make_account

SignIn = Callable[..., Account]


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings of a site on this test's database, without a broker."""
    return Settings(home=tmp_path, database_url=database_url, broker_url=None, public_url=None)


@pytest.fixture
def site(settings: Settings) -> FastAPI:
    """The application."""
    return create_app(settings)


@pytest.fixture
def client(site: FastAPI) -> Iterator[TestClient]:
    """A browser that is not signed in and does not follow redirects."""
    with TestClient(site, follow_redirects=False) as made:
        yield made


@pytest.fixture
def sign_in(session: Session) -> SignIn:
    """`sign_in(client, role)` makes an account, commits, and gives the client its cookie."""

    def signed_in(client: TestClient, role: Role = Role.LABELER, name: str = "Ada") -> Account:
        account = make_account(session, name=name, role=role)
        client.cookies.set(COOKIE, accounts.open_session(session, account.id, days=1))
        session.commit()
        return account

    return signed_in
