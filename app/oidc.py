"""Single sign-on by OpenID Connect: the authorization code flow with PKCE, state and nonce.

Source: OpenID Connect Core 1.0, sections 3.1 and 3.1.3.7; RFC 7636 (PKCE).
"""

import secrets
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from itsdangerous import BadSignature, URLSafeTimedSerializer
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import accounts, audit
from app.errors import ConflictError, ForbiddenError, UnavailableError
from app.models import Account, Role
from app.settings import Settings

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
"""Signatures only a provider can make; `none` and shared secrets are not among them."""
TIMEOUT_SECONDS = 10.0
TRIP_SECONDS = 600
"""How long a person may take at the provider."""
LEEWAY_SECONDS = 60
"""How far the provider's clock may be off."""
CALLBACK = "/signin/oidc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """What must come back with a person from the provider; travels in a signed cookie."""

    state: str
    nonce: str
    verifier: str
    connect: str | None
    """Id of the account to connect; None: sign in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the provider says it is."""

    subject: str
    """Issuer and subject: nothing else identifies a person for good."""
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """An issuer and this site as its client."""

    issuer: str
    client_id: str
    client_secret: str | None
    redirect_uri: str

    def begin(self, *, connect: UUID | None = None) -> tuple[str, Trip]:
        """The address to send a person to, and what to keep until they come back.

        Raises: UnavailableError if the provider does not answer.
        """
        trip = Trip(
            state=secrets.token_urlsafe(24),
            nonce=secrets.token_urlsafe(24),
            verifier=secrets.token_urlsafe(48),
            connect=None if connect is None else str(connect),
        )
        with self._client() as client:
            url, _ = client.create_authorization_url(
                self._metadata(client)["authorization_endpoint"],
                state=trip.state,
                nonce=trip.nonce,
                code_verifier=trip.verifier,
            )
        return str(url), trip

    def finish(self, trip: Trip, *, state: str, code: str) -> Identity:
        """Who came back.

        Raises: ForbiddenError if what came back is not what was asked for, UnavailableError if the provider does not
            answer.
        """
        if not secrets.compare_digest(state.encode(), trip.state.encode()):
            raise ForbiddenError("This sign-in was not begun in this browser: begin again.")
        with self._client() as client:
            metadata = self._metadata(client)
            try:
                answer = client.fetch_token(metadata["token_endpoint"], code=code, code_verifier=trip.verifier)
                keys = client.request("GET", metadata["jwks_uri"], withhold_token=True).raise_for_status().json()
                claims = self._claims(answer["id_token"], KeySet.import_key_set(keys), trip.nonce)
            except (OAuthError, JoseError, KeyError, ValueError) as error:
                raise ForbiddenError("The sign-in provider's answer is not valid: begin again.") from error
            except httpx2.HTTPError as error:
                raise _no_answer(self.issuer) from error
        name = claims.get("name") or claims.get("preferred_username") or claims.get("email") or claims["sub"]
        return Identity(subject=f"{self.issuer} {claims['sub']}", name=str(name)[:200])

    def _claims(self, id_token: str, keys: KeySet, nonce: str) -> dict[str, Any]:
        token = jwt.decode(id_token, keys, algorithms=list(ALGORITHMS))
        wanted = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self.client_id},
            exp={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        wanted.validate(token.claims)
        if token.claims.get("azp", self.client_id) != self.client_id:
            raise ValueError("the token was made for another client")
        return token.claims

    def _client(self) -> OAuth2Client:
        local = urlsplit(self.issuer).hostname in ("127.0.0.1", "localhost", "::1")
        return OAuth2Client(
            client_id=self.client_id,
            client_secret=self.client_secret,
            token_endpoint_auth_method="client_secret_basic" if self.client_secret else "none",
            scope="openid profile email",
            redirect_uri=self.redirect_uri,
            code_challenge_method="S256",
            timeout=TIMEOUT_SECONDS,
            trust_env=not local,
        )

    def _metadata(self, client: OAuth2Client) -> dict[str, Any]:
        url = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            found: dict[str, Any] = client.request("GET", url, withhold_token=True).raise_for_status().json()
        except (httpx2.HTTPError, ValueError) as error:
            raise _no_answer(self.issuer) from error
        if found.get("issuer") != self.issuer:
            raise UnavailableError(f"{url} is the configuration of another issuer: set PREFLOOP_OIDC_ISSUER to it.")
        return found


def provider(settings: Settings) -> Provider | None:
    """The provider of the settings; None if there is none."""
    if settings.oidc_issuer is None or settings.oidc_client_id is None:
        return None
    return Provider(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret.get_secret_value() if settings.oidc_client_secret else None,
        redirect_uri=f"{settings.site_url}{CALLBACK}",
    )


def sealed(settings: Settings, trip: Trip) -> str:
    """A trip as the value of a cookie that nobody can make or change."""
    return _serializer(settings).dumps(asdict(trip))


def opened(settings: Settings, cookie: str | None) -> Trip:
    """The trip of a cookie. Raises: ForbiddenError if there is none, or it is not ours or too old."""
    try:
        return Trip(**_serializer(settings).loads(cookie or "", max_age=TRIP_SECONDS))
    except (BadSignature, TypeError) as error:
        raise ForbiddenError("This sign-in took too long or was begun in another browser: begin again.") from error


def account_of(session: Session, identity: Identity, *, new_role: Role | None) -> Account:
    """The account of somebody the provider vouches for; made if there is none and `new_role` says of which role.

    Raises: ForbiddenError for people who are unknown and not to be let in, or disabled.
    """
    found = session.scalar(select(Account).where(Account.oidc_subject == identity.subject))
    if found is None:
        if new_role is None:
            raise ForbiddenError(
                "Nobody here is connected with this sign-in: open an invitation or sign-in link first, then connect it "
                "on your page."
            )
        found = accounts.create_account(session, identity.name, new_role)
        connect(session, found.id, identity)
    if found.disabled_at is not None:
        raise ForbiddenError("This account is disabled: ask a researcher.")
    return found


def connect(session: Session, account_id: UUID, identity: Identity) -> None:
    """Let an account sign in with this identity. Raises: ConflictError if another one does already."""
    account = session.get_one(Account, account_id)
    try:
        with session.begin_nested():
            account.oidc_subject = identity.subject
    except IntegrityError as error:
        raise ConflictError("Another account is connected with this sign-in already.") from error
    audit.record(session, account_id, "account.oidc_connected")


def _serializer(settings: Settings) -> URLSafeTimedSerializer:
    assert settings.secret_key is not None, "the settings see to it"
    return URLSafeTimedSerializer(settings.secret_key.get_secret_value(), salt="prefloop.oidc")


def _no_answer(issuer: str) -> UnavailableError:
    return UnavailableError(f"The sign-in provider {issuer} does not answer: try again, or use a link or password.")
