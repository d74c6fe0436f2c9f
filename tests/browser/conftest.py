"""A real server on a port, a real database, a real Chromium."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sqlalchemy.orm import Session

from app import accounts
from app.db import SessionFactory, session_scope
from app.main import create_app
from app.models import Account, Role
from app.settings import Settings
from app.web.deps import COOKIE
from tests.factories import make_account

SECONDS_TO_START = 20
PATIENCE_MS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A running server and the way into its database."""

    url: str
    factory: SessionFactory

    def account(self, name: str = "Ada", role: Role = Role.LABELER) -> Account:
        """A new person."""
        with session_scope(self.factory) as session:
            return make_account(session, name, role)

    def link(self, account: Account) -> str:
        """A one-time sign-in link."""
        with session_scope(self.factory) as session:
            return f"{self.url}/signin/{accounts.invite(session, account.id, days=1)}"

    def sign_in(self, page: Page, account: Account) -> None:
        """Give a browser the cookie of an account."""
        with session_scope(self.factory) as session:
            secret = accounts.open_session(session, account.id, days=1)
        page.context.add_cookies([{"name": COOKIE, "value": secret, "url": self.url}])


@pytest.fixture
def site(database_url: str, session_factory: SessionFactory, tmp_path: Path) -> Iterator[Site]:
    """The application on a free port, without a broker."""
    app = create_app(Settings(home=tmp_path, database_url=database_url, broker_url=None, public_url=None))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws="none", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run)
    thread.start()
    until = time.monotonic() + SECONDS_TO_START
    while not server.started and thread.is_alive() and time.monotonic() < until:
        time.sleep(0.02)
    assert server.started
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Site(url=f"http://127.0.0.1:{port}", factory=session_factory)
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """One Chromium for all tests of a file."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh profile; a script error on the page or a breach of the content policy fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    made = context.new_page()
    errors: list[str] = []
    made.on("pageerror", lambda error: errors.append(str(error)))
    made.on("console", lambda said: errors.append(said.text) if "Content Security Policy" in said.text else None)
    yield made
    context.close()
    assert errors == []


@pytest.fixture
def database(session_factory: SessionFactory) -> Iterator[Session]:
    """What is committed, each statement anew."""
    with session_factory() as made:
        made.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        yield made
