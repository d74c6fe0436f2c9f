"""Bodies of the API of people."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app import people
from app.models import Role, Scope, SignInMethod, WebSession
from app.web.schemas import Body, Time

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


class NewLabeler(Body):
    """A person to be."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Ada"}]})

    name: Name


class LabelerOut(BaseModel):
    """A labeler and both ways in."""

    labeler: UUID
    token: str
    """An API token with the scopes `label` and `read`."""
    link: str


class MeOut(BaseModel):
    """Who asks."""

    id: UUID
    name: str
    role: Role
    login: str | None
    scopes: list[Scope]


class NewToken(Body):
    """A token to be."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "nightly export", "scopes": ["read"], "days": 90}]}
    )

    name: Name
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    days: Annotated[int, Field(ge=1, le=3650)] | None = 90
    """How long it works; null: until it is revoked."""


class TokenMade(BaseModel):
    """A new token."""

    id: UUID
    token: str
    """The secret; only its hash is kept."""
    expires_at: Time | None


class TokenOut(BaseModel):
    """A token, without its secret."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    scopes: list[Scope]
    created_at: Time
    expires_at: Time | None
    last_used_at: Time | None


class TokensOut(BaseModel):
    """One's tokens that work."""

    tokens: list[TokenOut]


class SessionOut(BaseModel):
    """A signed-in browser."""

    id: UUID
    browser: str | None
    method: SignInMethod
    created_at: Time
    expires_at: Time
    last_seen_at: Time | None
    here: bool
    """Whether it is the one that asks."""

    @classmethod
    def of(cls, opened: WebSession, *, here: bool) -> Self:
        """From its row."""
        return cls(
            id=opened.id,
            browser=opened.browser,
            method=opened.method,
            created_at=opened.created_at,
            expires_at=opened.expires_at,
            last_seen_at=opened.last_seen_at,
            here=here,
        )


class SessionsOut(BaseModel):
    """One's signed-in browsers."""

    sessions: list[SessionOut]


class PeopleOut(BaseModel):
    """Everybody."""

    people: tuple[people.Person, ...]


class PersonChange(Body):
    """What to change about somebody."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"disabled": True}]})

    role: Role | None = None
    disabled: bool | None = None


class LinkOut(BaseModel):
    """A one-time sign-in link, shown once."""

    link: str


class NewInvitation(Body):
    """An invitation to be."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "labeler", "uses": 20, "days": 14}]})

    role: Role = Role.LABELER
    uses: Annotated[int, Field(ge=1, le=people.MOST_USES)] = 1
    days: Annotated[int, Field(ge=1, le=365)] | None = None
    """How long it works; null: as long as sign-in links do."""


class InviteOut(BaseModel):
    """A link by which people can join, shown once."""

    link: str


class InvitationsOut(BaseModel):
    """Links by which people can still join."""

    invitations: tuple[people.Invitation, ...]
