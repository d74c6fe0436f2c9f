"""The API of people: oneself, one's tokens and browsers; everybody, invitations."""

from uuid import UUID

from fastapi import APIRouter

from app import accounts, people, welcome
from app.models import Role, Scope
from app.web.deps import AccessDep, AccountDep, OneselfDep, ResearcherDep, SessionDep, SettingsDep
from app.web.people_schemas import (
    InvitationsOut,
    InviteOut,
    LabelerOut,
    LinkOut,
    MeOut,
    NewInvitation,
    NewLabeler,
    NewToken,
    PeopleOut,
    PersonChange,
    SessionOut,
    SessionsOut,
    TokenMade,
    TokenOut,
    TokensOut,
)

router = APIRouter(prefix="/api/v1", tags=["people"])

LABELER_SCOPES = (Scope.LABEL, Scope.READ)


@router.get("/me")
def show_me(me: AccountDep, access: AccessDep) -> MeOut:
    """Who you are, and what this token or browser may do."""
    return MeOut(id=me.id, name=me.name, role=me.role, login=me.login, scopes=sorted(access.scopes))


@router.get("/me/tokens")
def list_tokens(me: OneselfDep, session: SessionDep) -> TokensOut:
    """Your API tokens that work, newest first."""
    return TokensOut(tokens=[TokenOut.model_validate(token) for token in accounts.tokens(session, me.id)])


@router.post("/me/tokens", status_code=201)
def create_token(body: NewToken, me: OneselfDep, access: AccessDep, session: SessionDep) -> TokenMade:
    """A new API token, shown only here. A token makes none that may more than itself."""
    secret = accounts.issue_token(session, me.id, body.name, scopes=body.scopes, days=body.days, granted_by=access)
    made = accounts.token_of(session, secret)
    assert made is not None, "it was made in the line above"
    return TokenMade(token=secret, id=made.id, expires_at=made.expires_at)


@router.delete("/me/tokens/{token_id}", status_code=204)
def revoke_token(token_id: UUID, me: OneselfDep, session: SessionDep) -> None:
    """Make one of your tokens worthless, and sign out the browsers that were signed in with it."""
    accounts.revoke_token(session, me.id, token_id, actor_id=me.id)


@router.get("/me/sessions")
def list_sessions(me: OneselfDep, access: AccessDep, session: SessionDep) -> SessionsOut:
    """Your signed-in browsers, the latest first."""
    found = accounts.sessions(session, me.id)
    return SessionsOut(sessions=[SessionOut.of(one, here=one.id == access.session_id) for one in found])


@router.delete("/me/sessions", status_code=204)
def sign_out_everywhere(me: OneselfDep, session: SessionDep) -> None:
    """Sign out all your browsers, this one too. Tokens go on working."""
    accounts.close_sessions(session, me.id, actor_id=me.id)


@router.delete("/me/sessions/{session_id}", status_code=204)
def sign_out_one(session_id: UUID, me: OneselfDep, session: SessionDep) -> None:
    """Sign out one of your browsers; one that is signed out already stays so."""
    accounts.close_sessions(session, me.id, only=session_id, actor_id=me.id)


@router.post("/labelers", status_code=201)
def create_labeler(body: NewLabeler, me: ResearcherDep, session: SessionDep, settings: SettingsDep) -> LabelerOut:
    """A new labeler, with an API token and a one-time sign-in link."""
    made = people.add(session, me, body.name, Role.LABELER)
    token = accounts.issue_token(session, made.id, f"made by {me.name}", scopes=LABELER_SCOPES)
    return LabelerOut(labeler=made.id, token=token, link=welcome.fresh_link(session, settings, made.id))


@router.get("/people")
def list_people(_: ResearcherDep, session: SessionDep) -> PeopleOut:
    """Everybody with an account."""
    return PeopleOut(people=tuple(people.everybody(session)))


@router.patch("/people/{account_id}")
def change_person(account_id: UUID, body: PersonChange, me: ResearcherDep, session: SessionDep) -> people.Person:
    """Disable, enable, or give another role. Researchers look after labelers, operators after everybody."""
    if body.role is not None:
        people.change_role(session, me, account_id, body.role)
    if body.disabled is not None:
        (people.disable if body.disabled else people.enable)(session, me, account_id)
    session.flush()
    return people.person(session, account_id)


@router.post("/people/{account_id}/link", status_code=201)
def create_link(account_id: UUID, me: ResearcherDep, session: SessionDep, settings: SettingsDep) -> LinkOut:
    """A one-time sign-in link for somebody who cannot get in; whoever opens it may set a new password."""
    secret = people.fresh_link(session, me, account_id, days=settings.link_days)
    return LinkOut(link=f"{settings.site_url}/signin/{secret}")


@router.delete("/people/{account_id}/sessions", status_code=204)
def sign_out_person(account_id: UUID, me: ResearcherDep, session: SessionDep) -> None:
    """Sign out all browsers of somebody."""
    people.sign_out(session, me, account_id)


@router.get("/invitations")
def list_invitations(_: ResearcherDep, session: SessionDep) -> InvitationsOut:
    """Links by which people can still join, newest first."""
    return InvitationsOut(invitations=tuple(people.invitations(session)))


@router.post("/invitations", status_code=201)
def create_invitation(body: NewInvitation, me: ResearcherDep, session: SessionDep, settings: SettingsDep) -> InviteOut:
    """A link by which people can join, shown only here."""
    days = settings.link_days if body.days is None else body.days
    secret = people.invite(session, me, body.role, uses=body.uses, days=days)
    return InviteOut(link=f"{settings.site_url}/join/{secret}")


@router.delete("/invitations/{invitation_id}", status_code=204)
def withdraw_invitation(invitation_id: UUID, me: ResearcherDep, session: SessionDep) -> None:
    """Make an invitation worthless."""
    people.withdraw(session, me, invitation_id)
