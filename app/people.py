"""The people of a site: who may let whom in, take what role, and be shut out.

Researchers look after labelers; operators look after everybody. Nobody changes themself, and the last operator stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app import accounts, audit, passwords, settling
from app.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from app.models import Account, Invite, Role, WebSession

MOST_USES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody with an account."""

    id: UUID
    name: str
    role: Role
    login: str | None
    """None: signs in by links only."""
    created_at: datetime
    disabled_at: datetime | None
    last_seen_at: datetime | None
    """In a browser that is still signed in, to the minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """A link by which people can still join."""

    id: UUID
    role: Role
    uses_left: int
    created_at: datetime
    expires_at: datetime
    created_by: str | None


def may_look_after(actor: Account, role: Role) -> bool:
    """Whether an account may invite, disable and help people of this role."""
    return accounts.may(actor, Role.OPERATOR) or (accounts.may(actor, Role.RESEARCHER) and role == Role.LABELER)


def everybody(session: Session) -> Sequence[Person]:
    """All people, those who work first, by name."""
    seen = select(WebSession.account_id, func.max(WebSession.last_seen_at).label("at")).group_by(WebSession.account_id)
    latest = seen.subquery()
    query = (
        select(Account, latest.c.at)
        .outerjoin(latest, latest.c.account_id == Account.id)
        .order_by(Account.disabled_at.is_not(None), func.lower(Account.name), Account.created_at)
    )
    return [_person(account, at) for account, at in session.execute(query)]


def person(session: Session, account_id: UUID) -> Person:
    """One of them. Raises: NotFoundError."""
    account = session.get(Account, account_id)
    if account is None:
        raise NotFoundError("There is no such person.")
    latest = select(func.max(WebSession.last_seen_at)).where(WebSession.account_id == account_id)
    return _person(account, session.scalar(latest))


def add(session: Session, actor: Account, name: str, role: Role) -> Account:
    """A new person. Raises: ForbiddenError unless the actor looks after that role, InvalidError without a name."""
    _check(actor, role)
    return accounts.create_account(session, name, role, actor_id=actor.id)


def invite(session: Session, actor: Account, role: Role, *, uses: int, days: int) -> str:
    """The secret of a link by which up to `uses` people can join within `days`.

    Raises: ForbiddenError unless the actor looks after that role, InvalidError if the numbers make no sense.
    """
    _check(actor, role)
    if not 1 <= uses <= MOST_USES or not 1 <= days <= 365:
        raise InvalidError(f"An invitation is for 1 to {MOST_USES} people and works for 1 to 365 days.")
    secret, made = accounts.new_invitation(session, role, uses=uses, days=days, actor_id=actor.id)
    audit.record(session, actor.id, "invitation.made", invitation=str(made.id), role=role.value, uses=uses, days=days)
    return secret


def invitations(session: Session) -> Sequence[Invitation]:
    """Links by which people can still join, newest first."""
    query = (
        select(Invite, Account.name)
        .outerjoin(Account, Account.id == Invite.created_by_id)
        .where(Invite.role.is_not(None), Invite.uses_left > 0, Invite.expires_at > func.now())
        .order_by(Invite.created_at.desc())
    )
    return [_invitation(made, name) for made, name in session.execute(query)]


def withdraw(session: Session, actor: Account, invitation_id: UUID) -> None:
    """Make an invitation worthless. Raises: NotFoundError, ForbiddenError unless the actor looks after its role."""
    found = session.get(Invite, invitation_id)
    if found is None or found.role is None:
        raise NotFoundError("There is no such invitation.")
    _check(actor, found.role)
    session.execute(delete(Invite).where(Invite.id == invitation_id))
    audit.record(session, actor.id, "invitation.withdrawn", invitation=str(invitation_id))


def join(session: Session, secret: str, *, name: str, login: str, password: str) -> Account:
    """Become one of the people by an invitation.

    Raises: NotFoundError, ConflictError as for other links; InvalidError without a name or with an easy password.
    """
    used = accounts.use_up(session, secret, Invite.role.is_not(None))
    assert used.role is not None, "asked for in the line above"
    account = accounts.create_account(session, name, used.role, actor_id=used.created_by_id)
    passwords.set_password(session, account.id, login=login, password=password)
    audit.record(session, account.id, "invitation.used", invitation=str(used.id))
    return account


def fresh_link(session: Session, actor: Account, account_id: UUID, *, days: int) -> str:
    """The secret of a new one-time link for somebody who cannot get in; it withdraws their older ones.

    Raises: NotFoundError, ForbiddenError unless the actor looks after them, ConflictError if they are disabled.
    """
    found = _held(session, actor, account_id)
    if found.disabled_at is not None:
        raise ConflictError(f"{found.name} is disabled: enable the account first.")
    accounts.revoke_invites(session, account_id)
    audit.record(session, actor.id, "account.link_made", account=str(account_id))
    return accounts.invite(session, account_id, days=days, actor_id=actor.id)


def disable(session: Session, actor: Account, account_id: UUID) -> None:
    """Shut somebody out at once, everywhere; what they did stays. Again changes nothing.

    Raises: NotFoundError, ForbiddenError unless the actor looks after them, ConflictError for oneself and for the last
        operator.
    """
    found = _held(session, actor, account_id)
    if found.disabled_at is not None:
        return
    _keep_an_operator(session, actor, found)
    found.disabled_at = session.scalar(select(func.clock_timestamp()))
    settling.unsettle(session, account_id)
    accounts.revoke_invites(session, account_id)
    accounts.close_sessions(session, account_id, actor_id=actor.id)
    audit.record(session, actor.id, "account.disabled", account=str(account_id))


def enable(session: Session, actor: Account, account_id: UUID) -> None:
    """Let somebody in again; again changes nothing. Raises: NotFoundError, ForbiddenError as `disable`."""
    found = _held(session, actor, account_id)
    if found.disabled_at is None:
        return
    found.disabled_at = None
    settling.unsettle(session, account_id)
    audit.record(session, actor.id, "account.enabled", account=str(account_id))


def sign_out(session: Session, actor: Account, account_id: UUID) -> None:
    """End all browser sessions of somebody. Raises: NotFoundError, ForbiddenError unless the actor looks after them."""
    accounts.close_sessions(session, _held(session, actor, account_id).id, actor_id=actor.id)


def change_role(session: Session, actor: Account, account_id: UUID, role: Role) -> None:
    """Give somebody another role; the same changes nothing.

    Raises: NotFoundError, ForbiddenError unless the actor looks after both roles, ConflictError for oneself and for the
        last operator.
    """
    found = _held(session, actor, account_id)
    if found.role == role:
        return
    _check(actor, role)
    _keep_an_operator(session, actor, found)
    before, found.role = found.role, role
    audit.record(
        session, actor.id, "account.role_changed", account=str(account_id), before=before.value, role=role.value
    )


def _held(session: Session, actor: Account, account_id: UUID) -> Account:
    """The account, locked until the end of the transaction."""
    found = session.get(Account, account_id, with_for_update={"key_share": True}, populate_existing=True)
    if found is None:
        raise NotFoundError("There is no such person.")
    _check(actor, found.role)
    return found


def _check(actor: Account, role: Role) -> None:
    if not may_look_after(actor, role):
        raise ForbiddenError(f"Only operators look after people with the role {role}.")


def _keep_an_operator(session: Session, actor: Account, found: Account) -> None:
    if found.id == actor.id:
        raise ConflictError("Ask another operator to do this to your own account.")
    if found.role != Role.OPERATOR:
        return
    working = select(Account.id).where(Account.role == Role.OPERATOR, Account.disabled_at.is_(None))
    locked = session.scalars(working.order_by(Account.id).with_for_update(key_share=True)).all()
    if set(locked) <= {found.id}:
        raise ConflictError("This is the last operator: make another one first.")


def _person(account: Account, seen: datetime | None) -> Person:
    return Person(
        id=account.id,
        name=account.name,
        role=account.role,
        login=account.login,
        created_at=account.created_at,
        disabled_at=account.disabled_at,
        last_seen_at=seen,
    )


def _invitation(made: Invite, created_by: str | None) -> Invitation:
    assert made.role is not None, "asked for by the query"
    return Invitation(
        id=made.id,
        role=made.role,
        uses_left=made.uses_left,
        created_at=made.created_at,
        expires_at=made.expires_at,
        created_by=created_by,
    )
