"""The page for oneself: password, API tokens, signed-in browsers."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import accounts, passwords
from app.errors import DomainError, ForbiddenError
from app.models import Account, Scope, SignInMethod, WebSession
from app.settings import Settings
from app.web import pages
from app.web.deps import AccessDep, BrowserDep, LimiterDep, SessionDep, SettingsDep, address
from app.web.login import Line, signed_in

router = APIRouter(include_in_schema=False)

FRESH_MINUTES = 15
"""So long after opening a link a new password may be set without the old one: this is how one is reset."""


@router.get("/me")
def me(request: Request, _: BrowserDep, access: AccessDep, session: SessionDep, settings: SettingsDep) -> HTMLResponse:
    """Everything about one's own account."""
    return _page(request, session, settings, access)


@router.post("/me/password")
def set_password(
    request: Request,
    login: Line,
    password: Line,
    me: BrowserDep,
    access: AccessDep,
    session: SessionDep,
    settings: SettingsDep,
    limiter: LimiterDep,
    current: Annotated[str, Form(max_length=500)] = "",
) -> HTMLResponse:
    """A new user name and password; every other browser is signed out, this one gets a new cookie."""
    limiter.sign_in(address(request), f"change {me.id}")
    opened = session.get_one(WebSession, access.session_id)
    try:
        if not _may_do_without(session, me, opened) and not passwords.is_correct(me, current):
            raise ForbiddenError("This is not your current password. Forgotten? Ask for a sign-in link.")
        passwords.set_password(session, me.id, login=login, password=password)
    except DomainError as error:
        return _page(request, session, settings, access, problem=error.detail, status=error.status)
    accounts.close_sessions(session, me.id, but=access.session_id, actor_id=me.id)
    kept = session.get_one(Account, me.id)
    cookie = signed_in(request, session, settings, kept, opened.method, opened.token_id)
    response = pages.render(request, "done.html", title="Your password is set", detail=SET, back="/me")
    response.headers.raw.extend((name, value) for name, value in cookie.headers.raw if name == b"set-cookie")
    return response


SET = "Sign in with your user name and password from now on; links and tokens go on working."


@router.post("/me/tokens")
def make_token(
    request: Request,
    name: Line,
    scopes: Annotated[list[Scope], Form()],
    days: Annotated[int, Form(ge=1, le=3650)],
    me: BrowserDep,
    access: AccessDep,
    session: SessionDep,
) -> HTMLResponse:
    """A new API token; shows it once, for only its hash is kept."""
    secret = accounts.issue_token(session, me.id, name, scopes=scopes, days=days, granted_by=access)
    return pages.render(
        request,
        "secret.html",
        title=f"API token {name}",
        detail=f"It works for {days} days, or until you revoke it.",
        label="API token",
        secret=secret,
        back="/me",
    )


@router.post("/me/tokens/{token_id}/revoke")
def revoke_token(token_id: UUID, me: BrowserDep, session: SessionDep) -> RedirectResponse:
    """Make a token worthless."""
    accounts.revoke_token(session, me.id, token_id, actor_id=me.id)
    return pages.see_other("/me")


@router.post("/me/sessions/revoke")
def sign_out_everywhere(me: BrowserDep, access: AccessDep, session: SessionDep) -> RedirectResponse:
    """Sign out every browser but this one."""
    accounts.close_sessions(session, me.id, but=access.session_id, actor_id=me.id)
    return pages.see_other("/me")


@router.post("/me/sessions/{session_id}/revoke")
def sign_out_one(session_id: UUID, me: BrowserDep, session: SessionDep) -> RedirectResponse:
    """Sign out one browser."""
    accounts.close_sessions(session, me.id, only=session_id, actor_id=me.id)
    return pages.see_other("/me")


def _may_do_without(session: Session, account: Account, opened: WebSession) -> bool:
    """Whether the current password need not be told: there is none, or this browser has just opened a link."""
    if account.password_hash is None:
        return True
    return opened.method == SignInMethod.LINK and accounts.is_fresh(session, opened.id, minutes=FRESH_MINUTES)


def _page(
    request: Request,
    session: Session,
    settings: Settings,
    access: accounts.Access,
    *,
    problem: str | None = None,
    status: int = 200,
) -> HTMLResponse:
    me = access.account
    opened = session.scalars(select(WebSession).where(WebSession.id == access.session_id)).one()
    return pages.render(
        request,
        "me.html",
        status=status,
        problem=problem,
        needs_current=not _may_do_without(session, me, opened),
        tokens=accounts.tokens(session, me.id),
        sessions=accounts.sessions(session, me.id),
        here=access.session_id,
        scopes=sorted(access.scopes),
        single_sign_on=settings.oidc_issuer is not None,
        least=passwords.LEAST_CHARACTERS,
    )
