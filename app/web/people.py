"""The page of people: invite, help, disable, change roles."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from app import people
from app.models import Role
from app.web import pages
from app.web.deps import OperatorDep, ResearcherDep, SessionDep, SettingsDep

router = APIRouter(include_in_schema=False)


class Act(StrEnum):
    """What may be done to somebody."""

    DISABLE = "disable"
    ENABLE = "enable"
    SIGN_OUT = "sign-out"


ACTS = {Act.DISABLE: people.disable, Act.ENABLE: people.enable, Act.SIGN_OUT: people.sign_out}


@router.get("/people")
def list_people(request: Request, me: ResearcherDep, session: SessionDep, settings: SettingsDep) -> HTMLResponse:
    """Everybody, and the forms to let more people in."""
    return pages.render(
        request,
        "people.html",
        people=people.everybody(session),
        invitations=people.invitations(session),
        roles=[role for role in Role if people.may_look_after(me, role)],
        link_days=settings.link_days,
    )


@router.post("/people/invitations")
def invite(
    request: Request,
    role: Annotated[Role, Form()],
    uses: Annotated[int, Form(ge=1, le=people.MOST_USES)],
    days: Annotated[int, Form(ge=1, le=365)],
    me: ResearcherDep,
    session: SessionDep,
    settings: SettingsDep,
) -> HTMLResponse:
    """A link by which people can join; shows it once."""
    secret = people.invite(session, me, role, uses=uses, days=days)
    many = "one person" if uses == 1 else f"up to {uses} people"
    return pages.render(
        request,
        "secret.html",
        title="Invitation",
        detail=f"With this link {many} can join as {role} within {days} days. It is not shown again.",
        label="Invitation link",
        secret=f"{settings.site_url}/join/{secret}",
        back="/people",
    )


@router.post("/people/invitations/{invitation_id}/withdraw")
def withdraw(invitation_id: UUID, me: ResearcherDep, session: SessionDep) -> RedirectResponse:
    """Make an invitation worthless."""
    people.withdraw(session, me, invitation_id)
    return pages.see_other("/people")


@router.post("/people/{account_id}/link")
def fresh_link(
    request: Request, account_id: UUID, me: ResearcherDep, session: SessionDep, settings: SettingsDep
) -> HTMLResponse:
    """A one-time link for somebody who cannot get in; whoever opens it may set a new password."""
    secret = people.fresh_link(session, me, account_id, days=settings.link_days)
    return pages.render(
        request,
        "secret.html",
        title=f"Sign-in link for {people.person(session, account_id).name}",
        detail=f"It works once, within {settings.link_days} days, and is not shown again. Older ones are withdrawn.",
        label="Sign-in link",
        secret=f"{settings.site_url}/signin/{secret}",
        back="/people",
    )


@router.post("/people/{account_id}/role")
def change_role(
    account_id: UUID, role: Annotated[Role, Form()], me: OperatorDep, session: SessionDep
) -> RedirectResponse:
    """Give somebody another role."""
    people.change_role(session, me, account_id, role)
    return pages.see_other("/people")


@router.post("/people/{account_id}/{act}")
def act(account_id: UUID, act: Act, me: ResearcherDep, session: SessionDep) -> RedirectResponse:
    """Shut somebody out, let them in again, or sign out all their browsers."""
    ACTS[act](session, me, account_id)
    return pages.see_other("/people")
