"""Requests that do not give up at once: a server that restarts costs waiting, nothing else.

What may be repeated is repeated after a lost answer: whatever only looks, and whatever the server writes once however
often it hears it. Other requests are sent again only where it is certain that the server did nothing.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from app.errors import (
    ConflictError,
    DomainError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnauthorizedError,
    UnavailableError,
)

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
TIMEOUT_SECONDS = 15.0
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
NOTHING_DONE = frozenset({429, 503})
"""Statuses by which the server says that it did nothing."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")

ERRORS: dict[int, type[DomainError]] = {
    kind.status: kind for kind in (ConflictError, ForbiddenError, InvalidError, NotFoundError, UnauthorizedError)
}


class StoppedError(Exception):
    """Whoever waits for the server was told to stop."""


def _ignore(_: str) -> None:
    """Nobody wants to hear of it."""


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


@dataclass(kw_only=True)
class Transport:
    """A connection to a site, used by one thread at a time."""

    url: str
    token: str | None = None
    """Bearer token; None: whatever cookie the site gave."""
    patience_seconds: float = float("inf")
    """How long a request is tried."""
    wait: Callable[[float], bool] = _sleep
    """Waits so many seconds; true ends all trying."""
    troubled: Callable[[str], None] = _ignore
    """Told why a request has to be sent again."""
    rng: random.Random = field(default_factory=random.Random)
    _http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        local = urlsplit(self.url).hostname in LOOPBACK
        self._http = httpx.Client(base_url=self.url.rstrip("/"), timeout=TIMEOUT_SECONDS, trust_env=not local)

    def close(self) -> None:
        """Drop the connections."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Any = None,
        key: str | None = None,
        once: bool = False,
    ) -> Any:
        """JSON of an API answer, None if it has no body.

        Args:
            path: below /api/v1.
            key: idempotency key.
            once: sending it twice would do it twice.
        Raises: DomainError as the server says, UnavailableError when patience ends, StoppedError.
        """
        headers = self._headers() if key is None else self._headers() | {"Idempotency-Key": key}
        answer = self.persist(
            lambda: self._http.request(method, f"/api/v1{path}", json=body, params=params, headers=headers), once=once
        )
        if answer.is_success:
            return answer.json() if answer.content else None
        raise error_of(answer)

    @contextmanager
    def lines(self, path: str, *, params: Any = None) -> Iterator[Iterator[str]]:
        """Lines of a streamed answer; not tried again once it has begun. Raises: as `call`."""

        def begin() -> httpx.Response:
            wanted = self._http.build_request("GET", f"/api/v1{path}", params=params, headers=self._headers())
            return self._http.send(wanted, stream=True)

        answer = self.persist(begin)
        try:
            if not answer.is_success:
                answer.read()
                raise error_of(answer)
            yield answer.iter_lines()
        finally:
            answer.close()

    def get_page(self, path: str) -> httpx.Response:
        """A page of the site, as a browser asks for it."""
        return self.persist(lambda: self._http.get(path))

    def post_form(self, path: str, form: dict[str, str] | None = None) -> httpx.Response:
        """What the site answers to a form; redirects are not followed."""
        return self.persist(lambda: self._http.post(path, data=form))

    def persist(self, request: Callable[[], httpx.Response], *, once: bool = False) -> httpx.Response:
        """Send until there is an answer worth having."""
        pause, until = FIRST_PAUSE_SECONDS, time.monotonic() + self.patience_seconds
        while True:
            try:
                answer = request()
            except httpx.TransportError as error:
                trouble = f"the server does not answer ({type(error).__name__})"
                again = not once or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
            else:
                if answer.status_code not in TRY_AGAIN:
                    return answer
                trouble = f"the server answered {answer.status_code}"
                again = not once or answer.status_code in NOTHING_DONE
                answer.close()
            if not again or time.monotonic() >= until:
                raise UnavailableError(f"{self.url}: {trouble}.")
            self.troubled(trouble)
            if self.wait(pause * self.rng.uniform(0.5, 1.5)):
                raise StoppedError
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _headers(self) -> dict[str, str]:
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}


def error_of(answer: httpx.Response) -> DomainError:
    """What the problem details of an answer say."""
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"The server answered {answer.status_code}: is this the address of a Prefloop site?"
    return ERRORS.get(answer.status_code, DomainError)(detail)
