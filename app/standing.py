"""The database of a site for commands that must work although nothing runs: the embedded one is started for them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from app import embedded, preflight
from app.settings import Settings
from app.supervisor import Supervisor


@contextmanager
def reachable(settings: Settings) -> Iterator[Settings]:
    """`settings` with URLs; where they name no database and `prefloop up` does not run, its server runs for the block.

    Raises: UnavailableError if it cannot be started.
    """
    postgres, _ = embedded.servers(settings.home)
    if settings.database_url is not None or postgres.is_ready():
        yield embedded.with_urls(settings)
        return
    with alone(settings) as started:
        yield started


@contextmanager
def alone(settings: Settings) -> Iterator[Settings]:
    """The same while nothing else of Prefloop may run on the home folder.

    Raises: UnavailableError if something does.
    """
    if settings.database_url is not None:
        yield embedded.with_urls(settings)
        return
    with preflight.claimed(settings.home):
        postgres, _ = embedded.servers(settings.home)
        supervisor = Supervisor(settings.home / "logs", _say)
        postgres.prepare()
        supervisor.start(postgres.child())
        try:
            supervisor.wait("postgres", postgres.is_ready)
            postgres.ensure_database()
            yield embedded.with_urls(settings)
        finally:
            supervisor.stop()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
