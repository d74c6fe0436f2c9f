"""Signing in by link, password, token or single sign-on, joining by invitation, signing out, and the way from /."""

from typing import Annotated
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy.orm import Session

from app import accounts, oidc, passwords, people
from app.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from app.models import Account, Role, SignInMethod
from app.settings import Settings
from app.web import pages
from app.web.deps import (
    PUBLIC,
    LimiterDep,
    MaybeAccessDep,
    SessionDep,
    SettingsDep,
    address,
    cookie_name,
    is_secure,
)

router = APIRouter(include_in_schema=False, dependencies=[PUBLIC])

TRIP_COOKIE = "prefloop_oidc"

Line = Annotated[str, Form(max_length=500)]
"""What people type into one line of a form."""


@router.get("/")
def home(access: MaybeAccessDep) -> RedirectResponse:
    """Where this person works."""
    return pages.see_other("/signin" if access is None else _start_page(access.account))


@router.get("/signin")
def sign_in_form(request: Request, settings: SettingsDep) -> HTMLResponse:
    """The ways in."""
    return _form(request, settings)


@router.post("/signin")
def sign_in_by_field(request: Request, secret: Line, session: SessionDep, settings: SettingsDep) -> RedirectResponse:
    """Sign in with what was pasted: a sign-in link, its token or an API token; an invitation leads to its page."""
    path, _, token = urlsplit(secret.strip()).path.rstrip("/").rpartition("/")
    if path.endswith("/join"):
        return pages.see_other(f"/join/{token}")
    known = accounts.token_of(session, token)
    if known is None:
        account = accounts.redeem_invite(session, token)
        return signed_in(request, session, settings, account, SignInMethod.LINK)
    access = accounts.access_of_token(session, token)
    if access is None:
        raise NotFoundError("The account of this token is disabled: ask a researcher.")
    return signed_in(request, session, settings, access.account, SignInMethod.TOKEN, known.id)


@router.post("/signin/password")
def sign_in_by_password(
    request: Request,
    login: Line,
    password: Line,
    session: SessionDep,
    settings: SettingsDep,
    limiter: LimiterDep,
) -> Response:
    """Sign in with name and password; the form again if they do not belong together."""
    limiter.sign_in(address(request), login.strip().casefold())
    try:
        account = passwords.account_of_password(session, login, password)
    except ForbiddenError as error:
        passwords.note_failure(session, login, address(request))
        return _form(request, settings, problem=error.detail, login=login, status=error.status)
    limiter.signed_in(address(request), login.strip().casefold())
    return signed_in(request, session, settings, account, SignInMethod.PASSWORD)


@router.get("/signin/oidc/start")
def go_to_provider(settings: SettingsDep, access: MaybeAccessDep) -> RedirectResponse:
    """To the provider; whoever is signed in here comes back connected with it."""
    url, trip = _provider(settings).begin(connect=None if access is None else access.account.id)
    response = RedirectResponse(url, status_code=303)
    response.set_cookie(
        TRIP_COOKIE,
        oidc.sealed(settings, trip),
        max_age=oidc.TRIP_SECONDS,
        path=oidc.CALLBACK,
        httponly=True,
        samesite="lax",
        secure=settings.site_url.startswith("https:"),
    )
    return response


@router.get(oidc.CALLBACK)
def come_back(
    request: Request,
    session: SessionDep,
    settings: SettingsDep,
    limiter: LimiterDep,
    access: MaybeAccessDep,
    state: str = "",
    code: str = "",
) -> Response:
    """From the provider: signed in, or connected."""
    limiter.sign_in(address(request))
    trip = oidc.opened(settings, request.cookies.get(TRIP_COOKIE))
    identity = _provider(settings).finish(trip, state=state, code=code)
    if trip.connect is None:
        new_role = None if settings.oidc_new_role is None else Role(settings.oidc_new_role)
        account = oidc.account_of(session, identity, new_role=new_role)
        response = signed_in(request, session, settings, account, SignInMethod.OIDC)
    else:
        if access is None or str(access.account.id) != trip.connect:
            raise ForbiddenError("Somebody else is signed in by now: begin again.")
        oidc.connect(session, access.account.id, identity)
        response = pages.see_other("/me")
    response.delete_cookie(TRIP_COOKIE, path=oidc.CALLBACK)
    return response


@router.get("/signin/{token}")
def confirm(request: Request, token: str) -> HTMLResponse:
    """One button: mail scanners and previews that follow links must not use them up."""
    return pages.render(request, "signin_link.html", token=token)


@router.post("/signin/{token}")
def sign_in_by_link(request: Request, token: str, session: SessionDep, settings: SettingsDep) -> RedirectResponse:
    """Use the link."""
    return signed_in(request, session, settings, accounts.redeem_invite(session, token), SignInMethod.LINK)


@router.get("/join/{token}")
def join_form(request: Request, token: str) -> HTMLResponse:
    """A name and a password for somebody new."""
    return pages.render(request, "join.html", token=token, problem=None, name="", login="")


@router.post("/join/{token}")
def join(
    request: Request,
    token: str,
    name: Line,
    login: Line,
    password: Line,
    session: SessionDep,
    settings: SettingsDep,
    limiter: LimiterDep,
) -> Response:
    """Become one of the people; the form again if something about it does not fit."""
    limiter.sign_in(address(request))
    try:
        with session.begin_nested():  # a password that is too easy must not cost the invitation
            account = people.join(session, token, name=name, login=login, password=password)
    except (InvalidError, ConflictError) as error:
        return pages.render(
            request, "join.html", status=error.status, token=token, problem=error.detail, name=name, login=login
        )
    return signed_in(request, session, settings, account, SignInMethod.LINK)


@router.post("/signout")
def sign_out(request: Request, session: SessionDep, settings: SettingsDep) -> Response:
    """Forget this browser."""
    name = cookie_name(request, settings)
    if secret := request.cookies.get(name):
        accounts.close_session(session, secret)
    response = pages.see_other("/signin")
    response.delete_cookie(name, secure=is_secure(request, settings), httponly=True, samesite="lax")
    return response


def signed_in(
    request: Request,
    session: Session,
    settings: Settings,
    account: Account,
    method: SignInMethod,
    token_id: UUID | None = None,
) -> RedirectResponse:
    """On to where the account works, with a fresh cookie; the session of the cookie before it ends."""
    name = cookie_name(request, settings)
    if before := request.cookies.get(name):
        accounts.close_session(session, before)
    secret = accounts.open_session(
        session,
        account.id,
        days=settings.session_days,
        method=method,
        browser=request.headers.get("user-agent"),
        token_id=token_id,
    )
    response = pages.see_other(_start_page(account))
    response.set_cookie(
        name,
        secret,
        max_age=settings.session_days * 24 * 3600,
        httponly=True,
        samesite="lax",
        secure=is_secure(request, settings),
    )
    return response


def _form(
    request: Request, settings: Settings, *, problem: str | None = None, login: str = "", status: int = 200
) -> HTMLResponse:
    single = settings.oidc_issuer is not None
    return pages.render(request, "signin.html", status=status, problem=problem, login=login, single_sign_on=single)


def _provider(settings: Settings) -> oidc.Provider:
    found = oidc.provider(settings)
    if found is None:
        raise NotFoundError("This site has no single sign-on.")
    return found


def _start_page(account: Account) -> str:
    return "/runs" if accounts.may(account, Role.RESEARCHER) else "/label"
