"""Signing in by one-time link or token, signing out, and the way from / to where a person works."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy.orm import Session

from app import accounts
from app.models import Account, Role
from app.settings import Settings
from app.web import pages
from app.web.deps import COOKIE, MaybeAccountDep, SessionDep, SettingsDep

router = APIRouter(include_in_schema=False)


@router.get("/")
def home(account: MaybeAccountDep) -> RedirectResponse:
    """Where this person works."""
    return pages.see_other("/signin" if account is None else _start_page(account))


@router.get("/signin")
def sign_in_form(request: Request) -> HTMLResponse:
    """A field for a link or token."""
    return pages.render(request, "signin.html", token=None)


@router.get("/signin/{token}")
def confirm(request: Request, token: str) -> HTMLResponse:
    """One button: mail scanners and previews that follow links must not use them up."""
    return pages.render(request, "signin.html", token=token)


@router.post("/signin")
def sign_in_by_field(
    request: Request, secret: Annotated[str, Form()], session: SessionDep, settings: SettingsDep
) -> RedirectResponse:
    """Sign in with what was pasted: a sign-in link, its token or an API token."""
    token = urlsplit(secret.strip()).path.rstrip("/").rsplit("/", 1)[-1]
    return _signed_in(request, session, settings, _known(session, token))


@router.post("/signin/{token}")
def sign_in_by_link(request: Request, token: str, session: SessionDep, settings: SettingsDep) -> RedirectResponse:
    """Use the link."""
    return _signed_in(request, session, settings, accounts.redeem_invite(session, token))


@router.post("/signout")
def sign_out(request: Request, session: SessionDep) -> Response:
    """Forget this browser."""
    if secret := request.cookies.get(COOKIE):
        accounts.close_session(session, secret)
    response = pages.see_other("/signin")
    response.delete_cookie(COOKIE)
    return response


def _known(session: Session, token: str) -> Account:
    return accounts.account_of_token(session, token) or accounts.redeem_invite(session, token)


def _signed_in(request: Request, session: Session, settings: Settings, account: Account) -> RedirectResponse:
    response = pages.see_other(_start_page(account))
    response.set_cookie(
        COOKIE,
        accounts.open_session(session, account.id, days=settings.session_days),
        max_age=settings.session_days * 24 * 3600,
        httponly=True,
        samesite="lax",
        secure="https" in (request.url.scheme, urlsplit(settings.site_url).scheme),
    )
    return response


def _start_page(account: Account) -> str:
    return "/runs" if accounts.may(account, Role.RESEARCHER) else "/label"
