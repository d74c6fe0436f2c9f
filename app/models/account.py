"""People and what lets them in."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Dated, Keyed, enum_column


class Role(StrEnum):
    """What a person may do; a researcher may also label, an operator may everything."""

    LABELER = "labeler"
    RESEARCHER = "researcher"
    OPERATOR = "operator"


class Account(Keyed, Dated, Base):
    """A person."""

    __tablename__ = "account"

    name: Mapped[str]
    role: Mapped[Role] = mapped_column(enum_column(Role))
    disabled_at: Mapped[datetime | None]


class Invite(Keyed, Dated, Base):
    """A one-time sign-in link; only the hash of its secret is kept."""

    __tablename__ = "invite"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class WebSession(Keyed, Dated, Base):
    """A signed-in browser; only the hash of its cookie is kept."""

    __tablename__ = "web_session"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    expires_at: Mapped[datetime]


class ApiToken(Keyed, Dated, Base):
    """A bearer token of the API; only its hash is kept."""

    __tablename__ = "api_token"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    revoked_at: Mapped[datetime | None]
