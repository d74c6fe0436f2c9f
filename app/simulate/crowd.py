"""Several simulated people at once, and what they did in the end."""

import random
import sys
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event

from app.client import Transport
from app.errors import InvalidError, NotFoundError
from app.rules import Rule
from app.simulate.labeler import Labeler
from app.simulate.tally import Tally

TICK_SECONDS = 1.0
QUIET_TICKS = 10
"""Without a terminal there is a line of progress every so many ticks."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to simulate."""

    url: str
    token: str
    """Of a researcher: makes the labelers' accounts."""
    rule: Rule
    run_id: str | None = None
    """None: the newest run that is running."""
    labelers: int = 1
    labels: int | None = None
    """Stop after so many in all; None: when the run ends."""
    seconds_per_label: float = 5.0
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.labelers < 1 or self.seconds_per_label < 0 or not 0 <= self.noise <= 1:
            raise InvalidError("Give at least 1 labeler, a positive time per label and a noise between 0 and 1.")
        if self.labels is not None and self.labels < 1:
            raise InvalidError("Give a positive number of labels.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What came of it."""

    labels: int
    by_labeler: dict[str, int]
    by_verdict: dict[str, int]
    repeats: int
    """Requests that had to be sent again."""
    seconds: float

    def __str__(self) -> str:
        people = ", ".join(f"{name} {count}" for name, count in self.by_labeler.items())
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in self.by_verdict.items())
        rate = 60 * self.labels / self.seconds if self.seconds else 0.0
        return (
            f"{self.labels} labels in {self.seconds:.0f} s ({rate:.1f} per minute): {verdicts or 'none'}\n"
            f"by labeler: {people or 'none'}\n"
            f"requests sent again: {self.repeats}"
        )


def simulate(options: Options, stop: Event, say: Say = print) -> Summary:
    """Label until done or until `stop` is set.

    Raises: DomainError if the server refuses what a labeler must be able to do.
    """
    tally = Tally(limit=options.labels)
    people = _hire(options, stop, tally)
    try:
        with ThreadPoolExecutor(len(people)) as threads:
            try:
                _watch([threads.submit(person.work) for person in people], tally, say)
            finally:
                stop.set()
    finally:
        for person in people:
            person.client.close()
    return Summary(
        labels=tally.total,
        by_labeler={person.name: tally.given[person.name] for person in people},
        by_verdict=dict(tally.verdicts),
        repeats=tally.repeats,
        seconds=tally.seconds,
    )


def _hire(options: Options, stop: Event, tally: Tally) -> list[Labeler]:
    boss = Transport(url=options.url, token=options.token, wait=stop.wait, troubled=tally.repeat)
    try:
        run_id = options.run_id or _running(boss)
        return [_labeler(boss, options, run_id, number, stop, tally) for number in range(1, options.labelers + 1)]
    finally:
        boss.close()


def _running(boss: Transport) -> str:
    for run in boss.call("GET", "/runs")["runs"]:
        if run["phase"] == "running":
            return str(run["id"])
    raise NotFoundError("No run is running: name one with --run.")


def _labeler(boss: Transport, options: Options, run_id: str, number: int, stop: Event, tally: Tally) -> Labeler:
    name = f"Simulated {number}"
    made = boss.call("POST", "/labelers", body={"name": name})
    rng = random.Random(f"{options.seed}/{number}")
    return Labeler(
        name=name,
        link=made["link"],
        token=made["token"],
        client=Transport(url=options.url, wait=stop.wait, troubled=tally.repeat, rng=rng),
        run_id=run_id,
        rule=options.rule,
        seconds_per_label=options.seconds_per_label,
        noise=options.noise,
        rng=rng,
        tally=tally,
        stop=stop,
    )


def _watch(working: list[Future[None]], tally: Tally, say: Say) -> None:
    """Tell how it goes until all are done; the first error ends it."""
    ticks = 0
    pending = set(working)
    while pending:
        done, pending = wait(pending, timeout=TICK_SECONDS, return_when=FIRST_EXCEPTION)
        for finished in done:
            finished.result()
        _tell(tally, ticks, say)
        ticks += 1
    if sys.stdout.isatty():
        say("")


def _tell(tally: Tally, ticks: int, say: Say) -> None:
    rate = 60 * tally.total / tally.seconds
    goal = f" of {tally.limit}" if tally.limit else ""
    line = f"{tally.total}{goal} labels, {rate:.1f} per minute" + (f"; {tally.trouble}" if tally.trouble else "")
    if sys.stdout.isatty():
        sys.stdout.write(f"\r\x1b[K{line[:160]}")
        sys.stdout.flush()
    elif ticks % QUIET_TICKS == 0:
        say(line)
