"""People, and the three secrets that let them in: links, browser sessions, API tokens.

A secret is 256 random bits, shown once; only its sha256 is kept. No salt and no slow hash: nobody guesses 256 bits.
Passwords, which people do guess, are the matter of `app.passwords`.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, delete, func, literal_column, select, update
from sqlalchemy.orm import Session

from app import admission, audit
from app.admission import EVERYTHING, Visitor, digest
from app.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from app.models import Account, ApiToken, Invite, Role, Scope, SignInMethod, WebSession

LADDER = (Role.LABELER, Role.RESEARCHER, Role.OPERATOR)
"""Each role may do what those before it may."""
MOST_TOKENS = 50
"""That work, per account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Somebody who showed a secret that lets them in, with their account."""

    account: Account
    visitor: Visitor

    @property
    def scopes(self) -> frozenset[Scope]:
        """What the secret may be used for, within the role."""
        return self.visitor.scopes

    @property
    def session_id(self) -> UUID | None:
        """The browser session; None: a bearer token."""
        return self.visitor.session_id


def may(who: Account | Visitor, role: Role) -> bool:
    """Whether somebody may do what `role` may."""
    return LADDER.index(who.role) >= LADDER.index(role)


def create_account(session: Session, name: str, role: Role, *, actor_id: UUID | None = None) -> Account:
    """A new person.

    Raises: InvalidError if the name is blank.
    """
    if not name.strip():
        raise InvalidError("Give the account a name.")
    account = Account(name=name.strip(), role=role)
    session.add(account)
    session.flush()
    audit.record(session, actor_id, "account.created", account=str(account.id), role=role.value)
    return account


def invite(session: Session, account_id: UUID, *, days: int, actor_id: UUID | None = None) -> str:
    """The secret of a sign-in link that works once within `days`."""
    secret = _new_secret()
    expires_at = func.clock_timestamp() + timedelta(days=days)
    session.add(Invite(account_id=account_id, token_hash=digest(secret), expires_at=expires_at, created_by_id=actor_id))
    session.flush()
    return secret


def new_invitation(session: Session, role: Role, *, uses: int, days: int, actor_id: UUID) -> tuple[str, Invite]:
    """The secret and the row of a link by which up to `uses` new people of a role can join within `days`."""
    secret = _new_secret()
    expires_at = func.clock_timestamp() + timedelta(days=days)
    made = Invite(role=role, uses_left=uses, token_hash=digest(secret), expires_at=expires_at, created_by_id=actor_id)
    session.add(made)
    session.flush()
    return secret, made


def revoke_invites(session: Session, account_id: UUID) -> None:
    """Make every unused link of an account worthless."""
    session.execute(delete(Invite).where(Invite.account_id == account_id, Invite.used_at.is_(None)))


def redeem_invite(session: Session, token: str) -> Account:
    """Use a sign-in link up; of two clicks at the same moment one wins.

    Raises: NotFoundError if nobody made it or its account is disabled; ConflictError if it is used or expired.
    """
    account = session.get_one(Account, use_up(session, token, Invite.account_id.is_not(None)).account_id)
    if account.disabled_at is not None:
        raise NotFoundError("This account is disabled: ask a researcher.")
    return account


def use_up(session: Session, token: str, which: ColumnElement[bool]) -> Invite:
    """Count one use of the link of this secret. Raises: NotFoundError, ConflictError if it is used up or expired."""
    used = (
        update(Invite)
        .where(Invite.token_hash == digest(token), which, Invite.uses_left > 0, Invite.expires_at > func.now())
        .values(used_at=func.clock_timestamp(), uses_left=Invite.uses_left - 1)
        .returning(Invite)
    )
    found = session.scalar(used)
    if found is None:
        raise _why_not(session, token, which)
    return found


def open_session(
    session: Session,
    account_id: UUID,
    *,
    days: int,
    method: SignInMethod = SignInMethod.LINK,
    browser: str | None = None,
    token_id: UUID | None = None,
) -> str:
    """The secret of a cookie that keeps a browser signed in for `days`."""
    secret = _new_secret()
    opened = WebSession(
        account_id=account_id,
        token_hash=digest(secret),
        expires_at=func.clock_timestamp() + timedelta(days=days),
        method=method,
        browser=browser[:200] if browser else None,
        token_id=token_id,
        last_seen_at=func.clock_timestamp(),
    )
    session.add(opened)
    session.execute(delete(WebSession).where(WebSession.account_id == account_id, WebSession.expires_at <= func.now()))
    session.flush()
    audit.record(session, account_id, "account.signed_in", method=method.value)
    return secret


def close_session(session: Session, secret: str) -> None:
    """Sign a browser out; an unknown secret changes nothing."""
    session.execute(delete(WebSession).where(WebSession.token_hash == digest(secret)))


def sessions(session: Session, account_id: UUID) -> Sequence[WebSession]:
    """The account's signed-in browsers, the latest first."""
    mine = select(WebSession).where(WebSession.account_id == account_id, WebSession.expires_at > func.now())
    return session.scalars(mine.order_by(WebSession.last_seen_at.desc().nulls_last())).all()


def is_fresh(session: Session, session_id: UUID, *, minutes: int) -> bool:
    """Whether a browser was signed in within the last `minutes`."""
    since = func.clock_timestamp() - timedelta(minutes=minutes)
    return session.scalar(select(WebSession.created_at > since).where(WebSession.id == session_id)) or False


def close_sessions(
    session: Session, account_id: UUID, *, but: UUID | None = None, only: UUID | None = None, actor_id: UUID
) -> int:
    """Sign browsers of an account out: all, all but one, or one; how many."""
    mine = delete(WebSession).where(WebSession.account_id == account_id)
    if but is not None:
        mine = mine.where(WebSession.id != but)
    if only is not None:
        mine = mine.where(WebSession.id == only)
    closed = len(session.scalars(mine.returning(WebSession.id)).all())
    if closed:
        audit.record(session, actor_id, "account.signed_out", account=str(account_id), sessions=closed)
    return closed


def access_of_session(session: Session, secret: str, *, idle_days: int | None = None) -> Access | None:
    """Who is signed in with this cookie.

    Args:
        idle_days: a session that nobody used for longer is over.
    Returns: None if it is unknown or expired, its token revoked, or the account disabled.
    """
    return _access(session, admission.of_session(session, secret, idle_days=idle_days))


def issue_token(
    session: Session,
    account_id: UUID,
    name: str,
    *,
    scopes: Iterable[Scope] = EVERYTHING,
    days: int | None = None,
    granted_by: Access | None = None,
) -> str:
    """The secret of a new API token.

    Args:
        days: how long it works; None: until it is revoked.
        granted_by: whoever asks for it; a token makes none that may more than itself.
    Raises: InvalidError without a name or scope, ForbiddenError if it would exceed the token that asks for it,
        ConflictError if the account has too many.
    """
    wanted = frozenset(scopes)
    if not name.strip() or not wanted:
        raise InvalidError("Give the token a name and at least one scope.")
    if granted_by is not None and not wanted <= granted_by.scopes:
        raise ForbiddenError("A token cannot make one that may more than itself.")
    if len(tokens(session, account_id)) >= MOST_TOKENS:
        raise ConflictError(f"There are {MOST_TOKENS} tokens already: revoke one first.")
    secret = _new_secret()
    made = ApiToken(
        account_id=account_id,
        token_hash=digest(secret),
        name=name.strip(),
        scopes=sorted(wanted),
        expires_at=None if days is None else func.clock_timestamp() + timedelta(days=days),
    )
    session.add(made)
    session.flush()
    actor_id = account_id if granted_by is None else granted_by.account.id
    audit.record(session, actor_id, "token.issued", token=str(made.id), name=made.name, scopes=made.scopes)
    return secret


def tokens(session: Session, account_id: UUID) -> Sequence[ApiToken]:
    """The account's API tokens that work, newest first."""
    mine = select(ApiToken).where(ApiToken.account_id == account_id, _works())
    return session.scalars(mine.order_by(ApiToken.created_at.desc())).all()


def revoke_token(session: Session, account_id: UUID, token_id: UUID, *, actor_id: UUID) -> None:
    """Make a token, and the browsers signed in with it, worthless. Raises: NotFoundError if it is not the account's."""
    revoked = (
        update(ApiToken)
        .where(ApiToken.id == token_id, ApiToken.account_id == account_id, ApiToken.revoked_at.is_(None))
        .values(revoked_at=func.clock_timestamp())
    )
    if session.scalar(revoked.returning(ApiToken.id)) is None:
        raise NotFoundError("There is no such token of yours.")
    audit.record(session, actor_id, "token.revoked", token=str(token_id))


def access_of_token(session: Session, token: str) -> Access | None:
    """Whose API token this is; None if it is unknown, revoked or expired, or the account disabled."""
    return _access(session, admission.of_token(session, token))


def token_of(session: Session, secret: str) -> ApiToken | None:
    """The working API token of this secret."""
    return session.scalar(select(ApiToken).where(ApiToken.token_hash == digest(secret), _works()))


def _access(session: Session, visitor: Visitor | None) -> Access | None:
    return None if visitor is None else Access(account=session.get_one(Account, visitor.id), visitor=visitor)


def _works() -> ColumnElement[bool]:
    return literal_column(admission.WORKS, Boolean)


def _why_not(session: Session, token: str, which: ColumnElement[bool]) -> ConflictError | NotFoundError:
    found = session.scalar(select(Invite).where(Invite.token_hash == digest(token), which))
    if found is None:
        return NotFoundError("Nobody made this sign-in link: check that it is complete, or ask for a new one.")
    fate = "has expired" if found.uses_left else "has been used"
    return ConflictError(f"This sign-in link {fate}: ask for a new one.")


def _new_secret() -> str:
    return secrets.token_urlsafe(32)
