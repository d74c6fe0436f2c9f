"""What routes ask for: one transaction per request, the settings, the person who is signed in.

Every route says whom it lets in, by one of `AccountDep`, `OneselfDep`, `BrowserDep`, `ResearcherDep`, `OperatorDep` or,
where anybody may come, `PUBLIC`; a test refuses routes that say nothing. What a token needs beside its account's role
follows from the method: to look takes the scope `read` (`label` will do where labelers look), to change takes `label`
where labelers work and `manage` elsewhere.

What does not wait for the database is `async`, so that it costs no change of threads.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session

from app import accounts
from app.accounts import Access
from app.admission import Visitor
from app.db import SessionFactory, session_scope
from app.errors import ForbiddenError, UnauthorizedError
from app.limiting import Limiter
from app.models import Account, Role, Scope
from app.settings import Settings

COOKIE = "prefloop_session"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SIGN_IN = "Open your sign-in link, or send an API token as `Authorization: Bearer ...`."

bearer_scheme = HTTPBearer(auto_error=False, description="An API token.")
cookie_scheme = APIKeyCookie(name=COOKIE, auto_error=False, description="A signed-in browser.")


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


async def get_limiter(request: Request) -> Limiter:
    """The limits of this process."""
    return cast(Limiter, request.app.state.limiter)


LimiterDep = Annotated[Limiter, Depends(get_limiter)]


def is_secure(request: Request, settings: Settings) -> bool:
    """Whether people reach the site over HTTPS."""
    return request.scope["scheme"] == "https" or settings.site_url.startswith("https:")


def cookie_name(request: Request, settings: Settings) -> str:
    """Over HTTPS the name that keeps subdomains and plain HTTP from planting a cookie (RFC 6265bis, 4.1.3.2)."""
    return f"__Host-{COOKIE}" if is_secure(request, settings) else COOKIE


def address(request: Request) -> str:
    """Where a request comes from: the client's address, as a trusted proxy tells it."""
    return request.client.host if request.client else "unknown"


def find_access(
    request: Request,
    session: SessionDep,
    settings: SettingsDep,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_scheme)],
    _: Annotated[str | None, Depends(cookie_scheme)],  # for the OpenAPI document: the name depends on HTTPS
) -> Access | None:
    """Who is asking, by token or else by cookie; the account is left in `request.state.account` for the templates."""
    access = None
    if bearer is not None:
        access = accounts.access_of_token(session, bearer.credentials)
    elif (cookie := request.cookies.get(cookie_name(request, settings))) is not None:
        access = accounts.access_of_session(session, cookie, idle_days=settings.session_idle_days)
    if access is not None:
        session.expunge(access.account)  # the page of an error is made after the rollback, which would empty it
    request.state.account = access.account if access else None
    return access


MaybeAccessDep = Annotated[Access | None, Depends(find_access)]


async def require_access(access: MaybeAccessDep) -> Access:
    """Anybody who is signed in.

    Raises: UnauthorizedError otherwise; pages answer it by leading to the sign-in page.
    """
    if access is None:
        raise UnauthorizedError(SIGN_IN)
    return access


AccessDep = Annotated[Access, Depends(require_access)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """Whom a route lets in."""

    role: Role
    to_look: frozenset[Scope]
    """Any of these scopes will do for a method that changes nothing."""
    to_change: Scope
    """The scope for the other methods."""
    browser: bool = False
    """Signed-in browsers only."""

    def check(self, method: str, visitor: Visitor, limiter: Limiter) -> None:
        """Raises: ForbiddenError, TooManyError."""
        if not accounts.may(visitor, self.role):
            raise ForbiddenError(f"Only {self.role}s may do this: ask one, or for an account of that role.")
        if self.browser and visitor.session_id is None:
            raise ForbiddenError("This takes a signed-in browser, not an API token.")
        if visitor.scopes.isdisjoint(self.scopes(method)):
            needed = " or ".join(sorted(self.scopes(method)))
            raise ForbiddenError(f"This API token may not do this: it takes one with the scope {needed}.")
        if method not in SAFE_METHODS and self.to_change == Scope.LABEL:
            limiter.label(visitor.id)

    def scopes(self, method: str) -> frozenset[Scope]:
        """Any of these lets a token of the right role in."""
        return self.to_look if method in SAFE_METHODS else frozenset({self.to_change})


class Requires(Requirement):
    """The same as a dependency that gives the account."""

    async def __call__(self, request: Request, access: AccessDep, limiter: LimiterDep) -> Account:
        """The account. Raises: ForbiddenError, TooManyError."""
        self.check(request.method, access.visitor, limiter)
        return access.account


async def anybody() -> None:
    """Says that a route needs nobody to be signed in."""


PUBLIC = Depends(anybody)
"""`dependencies=[PUBLIC]`: the route is for anybody."""

_LOOK_AS_LABELER = frozenset({Scope.LABEL, Scope.READ})
_LOOK = frozenset({Scope.READ})

require_account = Requires(role=Role.LABELER, to_look=_LOOK_AS_LABELER, to_change=Scope.LABEL)
require_oneself = Requires(role=Role.LABELER, to_look=_LOOK, to_change=Scope.MANAGE)
require_browser = Requires(role=Role.LABELER, to_look=_LOOK, to_change=Scope.MANAGE, browser=True)
require_researcher = Requires(role=Role.RESEARCHER, to_look=_LOOK, to_change=Scope.MANAGE)
require_operator = Requires(role=Role.OPERATOR, to_look=_LOOK, to_change=Scope.MANAGE)

AccountDep = Annotated[Account, Depends(require_account)]
"""Anybody who labels."""
OneselfDep = Annotated[Account, Depends(require_oneself)]
"""Anybody, about their own account."""
BrowserDep = Annotated[Account, Depends(require_browser)]
"""Anybody in a signed-in browser, about their own account."""
ResearcherDep = Annotated[Account, Depends(require_researcher)]
OperatorDep = Annotated[Account, Depends(require_operator)]
