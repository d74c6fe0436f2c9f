"""Labelers as a browser sends their requests: one process, one kept connection each, raw HTTP over uvloop.

The client shares the cores of what it measures, so it does nothing that it need not: answers are parsed only as far as
the next request wants.
"""

import asyncio
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import orjson

SPREAD = 0.5
"""Standard deviation of the logarithm of a person's time for one label."""
AHEAD = 4
"""Comparisons a browser holds: one on the screen, three behind it."""
PATIENCE_SECONDS = 2.0
"""Until the page of somebody who got nothing asks again (`static/label/queue.js`)."""


@dataclass(slots=True)
class Measured:
    """What a crowd saw."""

    lease_seconds: list[float] = field(default_factory=list)
    submit_seconds: list[float] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    """Ids of labels that the server said it has."""
    errors: list[str] = field(default_factory=list)
    """Status and body of every answer that was none."""

    def rows(self) -> dict[str, Any]:
        """The figures."""
        return {
            "labels": len(self.labels),
            "errors": len(self.errors),
            "lease_ms": quantiles(self.lease_seconds),
            "submit_ms": quantiles(self.submit_seconds),
        }


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds: median, 95th and 99th percentile, largest; by nearest rank."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    ranks = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: round(1000 * ordered[math.ceil(q * len(ordered)) - 1], 1) for name, q in ranks.items()}


@dataclass(slots=True, kw_only=True)
class Crowd:
    """Signed-in labelers of one run."""

    host: str
    port: int
    run: str
    secrets: Sequence[str]
    """Of each labeler, the header line that lets them in."""
    measured: Measured = field(default_factory=Measured)

    async def saturate(self, seconds: float) -> float:
        """Everybody leases one, answers it and goes on at once, until nothing is left or time is up; seconds taken."""
        until = time.perf_counter() + seconds
        begun = time.perf_counter()
        await asyncio.gather(*(self._without_pause(secret, until) for secret in self.secrets))
        return time.perf_counter() - begun

    async def label(self, seconds: float, *, seconds_per_label: float, seed: int) -> None:
        """Everybody labels at a person's pace, with the queue of the labeling page."""
        until = time.perf_counter() + seconds
        chances = [random.Random(f"{seed}:{number}") for number in range(len(self.secrets))]
        work = (
            self._at_ease(secret, until, seconds_per_label, chance)
            for secret, chance in zip(self.secrets, chances, strict=True)
        )
        await asyncio.gather(*work)

    async def _without_pause(self, secret: str, until: float) -> None:
        person = await Person.of(self, secret)
        while time.perf_counter() < until:
            leases = await person.lease(1)
            if not leases:
                break
            await person.answer(leases[0], 1000)
        person.leave()

    async def _at_ease(self, secret: str, until: float, mean: float, chance: random.Random) -> None:
        await asyncio.sleep(chance.uniform(0, mean))  # people do not come all at once
        person = await Person.of(self, secret)
        held: list[dict[str, Any]] = await person.lease(AHEAD)
        while time.perf_counter() < until:
            if not held:
                await asyncio.sleep(PATIENCE_SECONDS)
                held = await person.lease(AHEAD)
                continue
            thought = mean * chance.lognormvariate(-(SPREAD**2) / 2, SPREAD)
            await asyncio.sleep(thought)
            await person.answer(held.pop(0), round(thought * 1000))
            known = {one["comparison"] for one in held}
            held += [one for one in await person.lease(AHEAD) if one["comparison"] not in known]
        person.leave()


@dataclass(slots=True, kw_only=True)
class Person:
    """One labeler's browser."""

    crowd: Crowd
    secret: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def of(cls, crowd: Crowd, secret: str) -> "Person":
        """Connected."""
        reader, writer = await asyncio.open_connection(crowd.host, crowd.port)
        return cls(crowd=crowd, secret=secret, reader=reader, writer=writer)

    async def lease(self, count: int) -> list[dict[str, Any]]:
        """Comparisons held now; none where the server refused."""
        path, body = f"/api/v1/runs/{self.crowd.run}/leases", b'{"count":%d}' % count
        status, answer, seconds = await self._post(path, body)
        if status != 200:
            self.crowd.measured.errors.append(f"lease: {status} {answer[:300]!r}")
            return []
        self.crowd.measured.lease_seconds.append(seconds)
        leases: list[dict[str, Any]] = orjson.loads(answer)["leases"]
        return leases

    async def answer(self, lease: dict[str, Any], milliseconds: int) -> None:
        """Choose the first sample shown."""
        said = {"verdict": "best", "choice": lease["samples"][0]["id"], "milliseconds": milliseconds}
        path = f"/api/v1/comparisons/{lease['comparison']}/labels"
        status, answer, seconds = await self._post(path, orjson.dumps(said), key=str(uuid4()))
        if status != 200:
            self.crowd.measured.errors.append(f"submit: {status} {answer[:300]!r}")
            return
        self.crowd.measured.submit_seconds.append(seconds)
        self.crowd.measured.labels.append(orjson.loads(answer)["label"])

    def leave(self) -> None:
        """Close the connection."""
        self.writer.close()

    async def _post(self, path: str, body: bytes, key: str = "") -> tuple[int, bytes, float]:
        """Status, body and seconds; with the headers by which a browser shows that it is no other site's doing."""
        host = f"{self.crowd.host}:{self.crowd.port}"
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nSec-Fetch-Site: same-origin\r\n"
            f"{self.secret}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        )
        key_line = f"Idempotency-Key: {key}\r\n" if key else ""
        begun = time.perf_counter()
        if self.reader.at_eof():  # a server closes what lay idle; a browser then connects again
            self.reader, self.writer = await asyncio.open_connection(self.crowd.host, self.crowd.port)
        self.writer.write(f"{head}{key_line}\r\n".encode() + body)
        answered = await self.reader.readuntil(b"\r\n\r\n")
        length = int(answered.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        content = await self.reader.readexactly(length)
        return int(answered[9:12]), content, time.perf_counter() - begun
