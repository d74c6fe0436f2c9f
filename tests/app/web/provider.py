"""A small OpenID provider: the real protocol on a real port, its answers bent where a test wants them bent."""

import base64
import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Form, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID, CLIENT_SECRET = "prefloop", "s3cret"


@dataclass(kw_only=True)
class OpenIdProvider:
    """Signs in whoever `person` is, without asking."""

    issuer: str = ""
    person: dict[str, Any] = field(default_factory=lambda: {"sub": "4711", "name": "Ada"})
    bend: dict[str, Any] = field(default_factory=dict)
    """Claims of the ID token to change."""
    foreign_key: bool = False
    """Sign with a key that is not published."""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "a", "use": "sig"}))
    asked: dict[str, dict[str, str]] = field(default_factory=dict)
    """What each code was given for; a code works once."""

    def app(self) -> FastAPI:
        """Its endpoints."""
        app = FastAPI()
        app.get("/.well-known/openid-configuration")(self.configuration)
        app.get("/authorize")(self.authorize)
        app.post("/token")(self.token)
        app.get("/keys")(self.keys)
        return app

    def configuration(self) -> dict[str, str]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
        }

    def keys(self) -> dict[str, Any]:
        return {"keys": [self.key.as_dict(private=False)]}

    def authorize(self, request: Request) -> RedirectResponse:
        query = dict(request.query_params)
        assert query["client_id"] == CLIENT_ID
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        code = f"code-{len(self.asked)}"
        self.asked[code] = query
        return RedirectResponse(f"{query['redirect_uri']}?code={code}&state={query['state']}", status_code=302)

    def token(
        self,
        request: Request,
        code: Annotated[str, Form()],
        code_verifier: Annotated[str, Form()],
        redirect_uri: Annotated[str, Form()],
    ) -> Response:
        expected = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        asked = self.asked.pop(code, None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(code_verifier.encode()).digest()).rstrip(b"=").decode()
        right = (
            request.headers.get("authorization") == f"Basic {expected}"
            and asked is not None
            and (asked["code_challenge"], asked["redirect_uri"]) == (challenge, redirect_uri)
        )
        if not right or asked is None:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 60, "nonce": asked["nonce"]}
        claims |= self.person | self.bend
        key = RSAKey.generate_key(2048, {"kid": "a"}) if self.foreign_key else self.key
        id_token = jwt.encode({"alg": "RS256", "kid": "a"}, claims, key)
        return JSONResponse({"access_token": "x", "token_type": "Bearer", "expires_in": 60, "id_token": id_token})


@contextmanager
def serving_provider() -> Iterator[OpenIdProvider]:
    """A provider on a free port for as long as the block lasts."""
    provider = OpenIdProvider()
    server = uvicorn.Server(uvicorn.Config(provider.app(), port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    provider.issuer = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield provider
    finally:
        server.should_exit = True
        thread.join()
