"""Headers that protect every answer, and the refusal of requests forged by other sites. Pure ASGI, no state.

A request that changes something must not come from another origin. Browsers say where it comes from in
`Sec-Fetch-Site`, or, over plain HTTP to another machine, in `Origin`; what sends neither is no browser and holds no
cookie of a victim. Requests with a bearer token carry their own proof.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import ForbiddenError
from app.web import problems

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",  # Plotly writes its styles into the page
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

YEAR_SECONDS = 365 * 24 * 3600

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SecurityHeaders:
    """Adds the protecting headers to every answer; pages and API answers are kept by no cache.

    Args:
        https: whether people reach the site by HTTPS: browsers are then told to come by nothing else.
    """

    def __init__(self, app: ASGIApp, *, https: bool = False) -> None:
        self.app = app
        self.headers = HEADERS | ({"Strict-Transport-Security": f"max-age={YEAR_SECONDS}"} if https else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
                if not scope["path"].startswith("/static/"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, send_with_headers)


class CrossOriginRefusal:
    """Answers 403 to requests that another site made a browser send."""

    def __init__(self, app: ASGIApp, public_url: str | None = None) -> None:
        self.app = app
        self.trusted = _origin(public_url) if public_url else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS or self._is_ours(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        error = ForbiddenError(
            "This request came from another site. Behind a proxy, set PREFLOOP_PUBLIC_URL to the address people use."
        )
        await problems.answer(Request(scope), error)(scope, receive, send)

    def _is_ours(self, headers: Headers) -> bool:
        if headers.get("authorization", "").lower().startswith("bearer "):
            return True
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and origin == self.trusted:
            return True
        if site is not None:
            return site in ("same-origin", "none")
        return origin is None or urlsplit(origin).netloc == headers.get("host")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
