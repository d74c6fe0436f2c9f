"""People, and the three secrets that let them in: one-time links, browser sessions, API tokens.

A secret is 256 random bits, shown once; only its sha256 is kept. No salt and no slow hash: nobody guesses 256 bits.
"""

import hashlib
import secrets
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app import audit
from app.errors import ConflictError, InvalidError, NotFoundError
from app.models import Account, ApiToken, Invite, Role, WebSession

LADDER = (Role.LABELER, Role.RESEARCHER, Role.OPERATOR)
"""Each role may do what those before it may."""


def may(account: Account, role: Role) -> bool:
    """Whether an account may do what `role` may."""
    return LADDER.index(account.role) >= LADDER.index(role)


def create_account(session: Session, name: str, role: Role) -> Account:
    """A new person.

    Raises: InvalidError if the name is blank.
    """
    if not name.strip():
        raise InvalidError("Give the account a name.")
    account = Account(name=name.strip(), role=role)
    session.add(account)
    session.flush()
    audit.record(session, None, "account.created", account=str(account.id), role=role.value)
    return account


def invite(session: Session, account_id: UUID, *, days: int) -> str:
    """The secret of a sign-in link that works once within `days`."""
    secret = _new_secret()
    expires_at = func.clock_timestamp() + timedelta(days=days)
    session.add(Invite(account_id=account_id, token_hash=_digest(secret), expires_at=expires_at))
    session.flush()
    return secret


def revoke_invites(session: Session, account_id: UUID) -> None:
    """Make every unused link of an account worthless."""
    session.execute(delete(Invite).where(Invite.account_id == account_id, Invite.used_at.is_(None)))


def redeem_invite(session: Session, token: str) -> Account:
    """Use a link up; of two clicks at the same moment one wins.

    Raises: NotFoundError if nobody made it or its account is disabled; ConflictError if it is used or expired.
    """
    account_id = session.scalar(
        update(Invite)
        .where(Invite.token_hash == _digest(token), Invite.used_at.is_(None), Invite.expires_at > func.now())
        .values(used_at=func.clock_timestamp())
        .returning(Invite.account_id)
    )
    if account_id is None:
        raise _why_not(session, token)
    account = session.get_one(Account, account_id)
    if account.disabled_at is not None:
        raise NotFoundError("This account is disabled: ask a researcher.")
    audit.record(session, account_id, "account.signed_in")
    return account


def open_session(session: Session, account_id: UUID, *, days: int) -> str:
    """The secret of a cookie that keeps a browser signed in for `days`."""
    secret = _new_secret()
    expires_at = func.clock_timestamp() + timedelta(days=days)
    session.add(WebSession(account_id=account_id, token_hash=_digest(secret), expires_at=expires_at))
    session.flush()
    return secret


def close_session(session: Session, secret: str) -> None:
    """Sign a browser out; an unknown secret changes nothing."""
    session.execute(delete(WebSession).where(WebSession.token_hash == _digest(secret)))


def account_of_session(session: Session, secret: str) -> Account | None:
    """Who is signed in with this cookie; None if it is unknown or expired, or the account disabled."""
    return session.scalar(
        select(Account)
        .join(WebSession, WebSession.account_id == Account.id)
        .where(
            WebSession.token_hash == _digest(secret), WebSession.expires_at > func.now(), Account.disabled_at.is_(None)
        )
    )


def issue_token(session: Session, account_id: UUID, name: str) -> str:
    """The secret of a new API token that works until it is revoked."""
    secret = _new_secret()
    session.add(ApiToken(account_id=account_id, token_hash=_digest(secret), name=name))
    session.flush()
    audit.record(session, account_id, "token.issued", name=name)
    return secret


def account_of_token(session: Session, token: str) -> Account | None:
    """Whose API token this is; None if it is unknown or revoked, or the account disabled."""
    return session.scalar(
        select(Account)
        .join(ApiToken, ApiToken.account_id == Account.id)
        .where(ApiToken.token_hash == _digest(token), ApiToken.revoked_at.is_(None), Account.disabled_at.is_(None))
    )


def _why_not(session: Session, token: str) -> ConflictError | NotFoundError:
    found = session.scalar(select(Invite).where(Invite.token_hash == _digest(token)))
    if found is None:
        return NotFoundError("Nobody made this sign-in link: check that it is complete, or ask for a new one.")
    fate = "has been used" if found.used_at else "has expired"
    return ConflictError(f"This sign-in link {fate}: ask for a new one.")


def _new_secret() -> str:
    return secrets.token_urlsafe(32)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
