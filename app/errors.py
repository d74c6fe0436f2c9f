"""What can go wrong, as exceptions that carry their HTTP status.

DomainError            500
├── NotFoundError      404  no such thing, or not yours to see
├── InvalidError       422  the request makes no sense; says what to do instead
├── ConflictError      409  the world moved on: lease expired, already labeled, wrong phase
├── UnauthorizedError  401  nobody is signed in
├── ForbiddenError     403  signed in, but the role may not
├── TooManyError       429  too often; says when to try again
└── UnavailableError   503  a part is missing just now; try again
"""


class DomainError(Exception):
    """A fact the caller must know. `title` names the kind, `detail` says what to do."""

    status = 500
    title = "Something went wrong"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class NotFoundError(DomainError):
    """No such thing, or not yours to see."""

    status = 404
    title = "Not found"


class InvalidError(DomainError):
    """The request makes no sense as it stands."""

    status = 422
    title = "Invalid request"


class ConflictError(DomainError):
    """The request made sense, but the state it relied on is gone."""

    status = 409
    title = "Conflict"


class UnauthorizedError(DomainError):
    """Nobody is signed in."""

    status = 401
    title = "Sign in first"


class ForbiddenError(DomainError):
    """The signed-in role may not do this."""

    status = 403
    title = "Not allowed"


class TooManyError(DomainError):
    """Too often in too short a time."""

    status = 429
    title = "Too many tries"

    def __init__(self, detail: str, *, retry_seconds: int) -> None:
        super().__init__(detail)
        self.retry_seconds = retry_seconds


class UnavailableError(DomainError):
    """A part of the system is missing just now."""

    status = 503
    title = "Unavailable"
