"""What routes ask for: one transaction per request, the settings, the person who is signed in.

What does not wait for the database is `async`, so that it costs no change of threads.
"""

from collections.abc import Iterator
from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session

from app import accounts
from app.db import SessionFactory, session_scope
from app.errors import ForbiddenError, UnauthorizedError
from app.models import Account, Role
from app.settings import Settings

COOKIE = "prefloop_session"

_bearer = HTTPBearer(auto_error=False, description="An API token.")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="A signed-in browser.")


async def get_settings(request: Request) -> Settings:
    """The settings the application was made with."""
    return cast(Settings, request.app.state.settings)


async def get_session_factory(request: Request) -> SessionFactory:
    """For responses that outlive the request's transaction, such as streams."""
    return cast(SessionFactory, request.app.state.session_factory)


def get_session(factory: Annotated[SessionFactory, Depends(get_session_factory)]) -> Iterator[Session]:
    """One transaction, committed before the answer leaves (scope `function`)."""
    with session_scope(factory) as session:
        yield session


SettingsDep = Annotated[Settings, Depends(get_settings)]
SessionFactoryDep = Annotated[SessionFactory, Depends(get_session_factory)]
SessionDep = Annotated[Session, Depends(get_session, scope="function")]


def find_account(
    request: Request,
    session: SessionDep,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    cookie: Annotated[str | None, Depends(_cookie)],
) -> Account | None:
    """Who is asking, by token or else by cookie; also left in `request.state.account` for the templates."""
    account = None
    if bearer is not None:
        account = accounts.account_of_token(session, bearer.credentials)
    elif cookie is not None:
        account = accounts.account_of_session(session, cookie)
    if account is not None:
        session.expunge(account)  # the page that tells of an error is made after the rollback, which would empty it
    request.state.account = account
    return account


MaybeAccountDep = Annotated[Account | None, Depends(find_account)]


async def require_account(account: MaybeAccountDep) -> Account:
    """Anybody who is signed in.

    Raises: UnauthorizedError otherwise; pages answer it by leading to the sign-in page.
    """
    if account is None:
        raise UnauthorizedError("Open your sign-in link, or send an API token as `Authorization: Bearer ...`.")
    return account


AccountDep = Annotated[Account, Depends(require_account)]


async def require_researcher(account: AccountDep) -> Account:
    """A researcher or operator.

    Raises: ForbiddenError for labelers.
    """
    if not accounts.may(account, Role.RESEARCHER):
        raise ForbiddenError("Only researchers may do this: ask one for an account of that role.")
    return account


ResearcherDep = Annotated[Account, Depends(require_researcher)]
