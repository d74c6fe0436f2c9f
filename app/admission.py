"""Who is let in by a secret: what every request asks first, in one statement.

A secret is 256 random bits, of which only the sha256 is kept.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from app import hot
from app.models import ApiToken, Role, Scope, WebSession

EVERYTHING = frozenset(Scope)
SEEN_SECONDS = 60
"""How exact `last_seen_at` and `last_used_at` are: not every request is worth a write."""
WORKS = "(api_token.revoked_at is null and (api_token.expires_at is null or api_token.expires_at > now()))"
"""Condition on `api_token`, as SQL."""
OF_SESSION = f"""
    select account.id, account.role, api_token.scopes, web_session.id, web_session.id,
        coalesce(web_session.last_seen_at < now() - make_interval(secs => {SEEN_SECONDS}), true)
    from web_session
        join account on account.id = web_session.account_id
        left join api_token on api_token.id = web_session.token_id
    where web_session.token_hash = %(digest)s and web_session.expires_at > now() and account.disabled_at is null
        and (web_session.token_id is null or {WORKS})
        and (%(idle_days)s::integer is null or coalesce(web_session.last_seen_at, web_session.created_at)
             > now() - make_interval(days => %(idle_days)s::integer))
"""
OF_TOKEN = f"""
    select account.id, account.role, api_token.scopes, null::uuid, api_token.id,
        coalesce(api_token.last_used_at < now() - make_interval(secs => {SEEN_SECONDS}), true)
    from api_token join account on account.id = api_token.account_id
    where api_token.token_hash = %(digest)s and {WORKS} and account.disabled_at is null
"""

# Who locks an account goes on to look up a few rows by their keys. On a young site the tables look as if reading them
# whole were cheaper, and what PostgreSQL plans then, a connection keeps while they grow.
LOCKING = "select found.*, set_config('enable_seqscan', 'off', true) from ({0} for no key update of account) found"


class Visitor(NamedTuple):
    """Somebody who showed a secret that lets them in."""

    id: UUID
    """Of the account."""
    role: Role
    scopes: frozenset[Scope]
    """What the secret may be used for, within the role."""
    session_id: UUID | None
    """The browser session; None: a bearer token."""


def of_session(session: Session, secret: str, *, idle_days: int | None, lock: bool = False) -> Visitor | None:
    """Who is signed in with this cookie.

    Args:
        idle_days: a session that nobody used for longer is over; None: none is.
        lock: the account for this transaction, as `leasing.lock_labeler` does.
    Returns: None if it is unknown or expired, its token revoked, or the account disabled.
    """
    return _visitor(session, OF_SESSION, WebSession.last_seen_at, secret, lock, idle_days=idle_days)


def of_token(session: Session, secret: str, *, lock: bool = False) -> Visitor | None:
    """Whose API token this is; None if it is unknown, revoked or expired, or the account disabled."""
    return _visitor(session, OF_TOKEN, ApiToken.last_used_at, secret, lock)


def digest(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _visitor(
    session: Session,
    statement: str,
    seen: InstrumentedAttribute[datetime | None],
    secret: str,
    lock: bool,
    **values: int | None,
) -> Visitor | None:
    found: Sequence[tuple[UUID, str, list[str] | None, UUID | None, UUID, bool]]
    found = hot.rows(session, LOCKING.format(statement) if lock else statement, digest=digest(secret), **values)
    if not found:
        return None
    account_id, role, scopes, session_id, secret_id, stale = found[0][:6]
    if stale:
        _note(session, seen, secret_id)
    if lock:
        hot.note_lock(session, account_id)
    return Visitor(account_id, Role(role), EVERYTHING if scopes is None else frozenset(map(Scope, scopes)), session_id)


def _note(session: Session, seen: InstrumentedAttribute[datetime | None], secret_id: UUID) -> None:
    """Note the time, unless another request is about to: nobody waits for this."""
    table = seen.parent.class_
    free = select(table.id).where(table.id == secret_id, _stale(seen)).with_for_update(skip_locked=True)
    session.execute(
        update(table).where(table.id.in_(free)).values({seen: func.now()}),
        execution_options={"synchronize_session": False},
    )


def _stale(seen: InstrumentedAttribute[datetime | None]) -> ColumnElement[bool]:
    return or_(seen.is_(None), seen < func.now() - timedelta(seconds=SEEN_SECONDS))
