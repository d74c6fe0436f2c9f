"""People and what lets them in."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, String
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Dated, Keyed, enum_column


class Role(StrEnum):
    """What a person may do; a researcher may also label, an operator may everything."""

    LABELER = "labeler"
    RESEARCHER = "researcher"
    OPERATOR = "operator"


class Scope(StrEnum):
    """What an API token may be used for, within the role of its account."""

    LABEL = "label"
    """Lease, answer, undo, flag, pull the cord."""
    READ = "read"
    """Everything that changes nothing."""
    MANAGE = "manage"
    """Runs, people, tokens: every other change."""


class SignInMethod(StrEnum):
    """How a browser was signed in."""

    LINK = "link"
    PASSWORD = "password"
    TOKEN = "token"
    OIDC = "oidc"


class Account(Keyed, Dated, Base):
    """A person."""

    __tablename__ = "account"

    name: Mapped[str]
    role: Mapped[Role] = mapped_column(enum_column(Role))
    disabled_at: Mapped[datetime | None]
    login: Mapped[str | None] = mapped_column(unique=True)
    """Lower-case name to sign in with, once there is a password."""
    password_hash: Mapped[str | None]
    """Argon2id, with its salt and costs."""
    oidc_subject: Mapped[str | None] = mapped_column(unique=True)
    """Issuer and subject of single sign-on."""


class Invite(Keyed, Dated, Base):
    """A link that lets somebody in; only the hash of its secret is kept.

    With an account it signs that person in, once. With a role it lets that many new people join.
    """

    __tablename__ = "invite"
    __table_args__ = (
        CheckConstraint("(account_id is null) = (role is not null)", name="account_or_role"),
        CheckConstraint("uses_left >= 0", name="uses_not_negative"),
    )

    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    role: Mapped[Role | None] = mapped_column(enum_column(Role))
    created_by_id: Mapped[UUID | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    token_hash: Mapped[str] = mapped_column(unique=True)
    expires_at: Mapped[datetime]
    uses_left: Mapped[int] = mapped_column(default=1, server_default="1")
    used_at: Mapped[datetime | None]
    """The last time."""


class ApiToken(Keyed, Dated, Base):
    """A bearer token of the API; only its hash is kept."""

    __tablename__ = "api_token"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String))
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    """To the minute."""
    revoked_at: Mapped[datetime | None]


class WebSession(Keyed, Dated, Base):
    """A signed-in browser; only the hash of its cookie is kept."""

    __tablename__ = "web_session"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    expires_at: Mapped[datetime]
    method: Mapped[SignInMethod] = mapped_column(enum_column(SignInMethod))
    token_id: Mapped[UUID | None] = mapped_column(ForeignKey("api_token.id", ondelete="CASCADE"), index=True)
    """The API token it was signed in with: the session may no more than that and ends with it."""
    browser: Mapped[str | None]
    """What the browser calls itself, for its owner to recognise it by."""
    last_seen_at: Mapped[datetime | None]
    """To the minute."""


class RateLimit(Base):
    """How often something was tried in the current window. Not logged: after a crash of the server it is empty."""

    __tablename__ = "rate_limit"
    __table_args__ = {"prefixes": ["UNLOGGED"]}  # noqa: RUF012

    key: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]
    expires_at: Mapped[datetime] = mapped_column(index=True)
