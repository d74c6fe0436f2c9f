"""One client of the API that does not give up: a server that restarts costs waiting, nothing else."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import httpx

from app.errors import ConflictError, DomainError, ForbiddenError, NotFoundError, UnauthorizedError

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
TIMEOUT_SECONDS = 15.0
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
LOOPBACK = ("127.0.0.1", "localhost", "::1")

ERRORS: dict[int, type[DomainError]] = {
    kind.status: kind for kind in (ConflictError, ForbiddenError, NotFoundError, UnauthorizedError)
}


class StoppedError(Exception):
    """The simulation ends while a request waits for the server."""


def _ignore(_: str) -> None:
    """Nobody wants to hear of it."""


@dataclass(kw_only=True)
class Client:
    """A connection to the site, used by one thread at a time."""

    url: str
    stop: Event
    """Ends all waiting."""
    token: str | None = None
    """Bearer token; None: whatever cookie the sign-in gave."""
    troubled: Callable[[str], None] = _ignore
    """Told why a request has to be repeated."""
    rng: random.Random = field(default_factory=random.Random)
    _http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        local = urlsplit(self.url).hostname in LOOPBACK
        self._http = httpx.Client(base_url=self.url, timeout=TIMEOUT_SECONDS, trust_env=not local)

    def close(self) -> None:
        """Drop the connections."""
        self._http.close()

    def call(self, method: str, path: str, *, body: Any = None, key: str | None = None) -> Any:
        """JSON of an API answer; repeats until the server has answered.

        Raises: DomainError as the server says, StoppedError when the simulation ends.
        """
        headers = {} if key is None else {"Idempotency-Key": key}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        answer = self._persist(lambda: self._http.request(method, f"/api/v1{path}", json=body, headers=headers))
        if answer.is_success:
            return answer.json() if answer.content else None
        raise _error_of(answer)

    def sign_in(self, link: str, token: str) -> None:
        """Open the link and press its button, or, if it is used up by now, paste the token; keeps the cookie."""
        page = urlsplit(link).path
        self._persist(lambda: self._http.get(page))
        pressed = self._persist(lambda: self._http.post(page))
        if not pressed.has_redirect_location:  # used up by a try whose answer was lost
            pressed = self._persist(lambda: self._http.post("/signin", data={"secret": token}))
        if not pressed.has_redirect_location:
            raise UnauthorizedError(f"Signing in failed with status {pressed.status_code}.")

    def _persist(self, request: Callable[[], httpx.Response]) -> httpx.Response:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                answer = request()
            except httpx.TransportError as error:
                self.troubled(f"the server does not answer ({type(error).__name__})")
            else:
                if answer.status_code not in TRY_AGAIN:
                    return answer
                self.troubled(f"the server answered {answer.status_code}")
            if self.stop.wait(pause * self.rng.uniform(0.5, 1.5)):
                raise StoppedError
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _error_of(answer: httpx.Response) -> DomainError:
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"The server answered {answer.status_code}: is this the address of a Prefloop site?"
    return ERRORS.get(answer.status_code, DomainError)(detail)
