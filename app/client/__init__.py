"""A typed client of the API: `from app.client import Client`. It needs httpx and pydantic, nothing of the server.

Source: docs/api.md.
"""

from app.client.client import Client
from app.client.transport import StoppedError, Transport
from app.client.types import (
    Andon,
    Checkpoint,
    Job,
    Labeler,
    Lease,
    Leases,
    Me,
    Person,
    Point,
    Progress,
    Recorded,
    Run,
    Sample,
    Series,
    Token,
)

__all__ = [
    "Andon",
    "Checkpoint",
    "Client",
    "Job",
    "Labeler",
    "Lease",
    "Leases",
    "Me",
    "Person",
    "Point",
    "Progress",
    "Recorded",
    "Run",
    "Sample",
    "Series",
    "StoppedError",
    "Token",
    "Transport",
]
