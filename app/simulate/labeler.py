"""One simulated person: takes comparisons, thinks, chooses, answers."""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any
from uuid import uuid4

from app.client import StoppedError, Transport
from app.comparisons import PREFETCH
from app.errors import ConflictError, InvalidError, NotFoundError, UnauthorizedError
from app.rules import TIE, Rule
from app.simulate.client import sign_in
from app.simulate.tally import Tally

SPREAD = 0.5
"""Standard deviation of the logarithm of the time for one label: most are quick, some take long."""
EMPTY_QUEUE_SECONDS = 1.0
PROMISED_SECONDS = 0.2
"""Between two looks at whether others gave what they took on."""
ENDED = ("finished", "stopped")

Lease = dict[str, Any]


@dataclass(kw_only=True)
class Labeler:
    """A person at a browser."""

    name: str
    link: str
    token: str
    client: Transport
    run_id: str
    rule: Rule
    seconds_per_label: float
    """Mean."""
    noise: float
    """Probability of choosing at random instead of by the rule."""
    rng: random.Random
    tally: Tally
    stop: Event
    queue: deque[Lease] = field(default_factory=deque)

    def work(self) -> None:
        """Label until there are enough labels, the run has ended or the simulation is stopped."""
        try:
            sign_in(self.client, self.link, self.token)
            while not self.stop.is_set() and not self._finished():
                pass
        except StoppedError:
            return

    def _finished(self) -> bool:
        """One label, or a while of waiting for one. True: there is nothing more to do, ever."""
        if not self.tally.promise():  # whoever took the last one on may fail, while what it takes lies here
            return self.tally.is_full or self.stop.wait(PROMISED_SECONDS)
        if not self.queue and not self._fill():
            self.tally.break_promise()
            return self._ended() or self.stop.wait(EMPTY_QUEUE_SECONDS * self.rng.uniform(0.5, 1.5))
        if not self._answer(self.queue.popleft()):
            self.tally.break_promise()
        return False

    def _fill(self) -> bool:
        wanted = self.tally.wanted()
        count = PREFETCH + 1 if wanted is None else min(PREFETCH, wanted) + 1
        answer = self._call("POST", f"/runs/{self.run_id}/leases", body={"count": count})
        self.queue.extend(answer["leases"])
        if not self.queue:
            self.tally.wait(answer["progress"]["waiting_for"])
        return bool(self.queue)

    def _ended(self) -> bool:
        runs = self._call("GET", "/runs")["runs"]
        phases = [run["phase"] for run in runs if run["id"] == self.run_id]
        return not phases or phases[0] in ENDED

    def _answer(self, lease: Lease) -> bool:
        """Whether the server has the label. One key for all tries: whatever is lost, it counts once."""
        seconds = self._thinking_time()
        if self.stop.wait(seconds):
            return False
        body = self._choose(lease) | {"milliseconds": round(seconds * 1000)}
        try:
            self._call("POST", f"/comparisons/{lease['comparison']}/labels", body=body, key=str(uuid4()))
        except (ConflictError, NotFoundError) as error:  # taken away meanwhile: on to the next, as a person would
            self.tally.wait(error.detail)
            return False
        self.tally.keep_promise(self.name, body["verdict"])
        return True

    def _choose(self, lease: Lease) -> dict[str, Any]:
        samples: Sequence[dict[str, str]] = lease["samples"]
        if self.rng.random() < self.noise:
            return {"verdict": "best", "choice": self.rng.choice(samples)["id"]}
        chosen = self.rule(lease["prompt"], [sample["text"] for sample in samples])
        if chosen == TIE:
            return {"verdict": "tie", "choice": None}
        if not isinstance(chosen, int) or not 0 <= chosen < len(samples):
            raise InvalidError(f"The rule returned {chosen!r}: it must return an index from 0 to 3, or 'tie'.")
        return {"verdict": "best", "choice": samples[chosen]["id"]}

    def _thinking_time(self) -> float:
        """Log-normal seconds of the mean that was asked for."""
        return self.seconds_per_label * self.rng.lognormvariate(-(SPREAD**2) / 2, SPREAD)

    def _call(self, method: str, path: str, *, body: Any = None, key: str | None = None) -> Any:
        try:
            return self.client.call(method, path, body=body, key=key)
        except UnauthorizedError:  # the session ended, as they do after some days
            sign_in(self.client, self.link, self.token)
            return self.client.call(method, path, body=body, key=key)
