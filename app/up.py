"""Everything on one machine: servers, migrations, web and workers under one supervisor, until somebody stops it."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import httpx
from sqlalchemy.exc import OperationalError

from app import embedded, migrating, plant, preflight, welcome
from app.db import SessionFactory, make_engine, make_session_factory, session_scope
from app.errors import DomainError, UnavailableError
from app.settings import Settings
from app.supervisor import Stopped, Supervisor

READY_CHECK_SECONDS = 1.0
POSTGRES_START_SECONDS = 600.0
"""After a crash it first replays its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What `prefloop up` was asked for."""

    settings: Settings
    model: str | None = None
    """Base model: hub id or folder. None: the one there is, else the first that can be had."""
    preset: str = welcome.DEFAULT_PRESET
    """Hyperparameters of the run that is created if there is none."""
    ready_file: Path | None = None
    """Written once a comparison can be labeled, removed at the end; mode 0600, for it holds a token."""
    verbose: bool = False
    """Show all that the children log instead of errors only."""


def up(options: UpOptions) -> int:
    """Start everything and stay until SIGINT or SIGTERM; the exit code."""
    home = options.settings.home.expanduser().absolute()
    settings = options.settings.model_copy(update={"home": home})
    try:
        with preflight.claimed(home):
            preflight.check_port(settings.host, settings.port)
            first = not any(home.glob("postgres*"))
            preflight.check_room(home, preflight.FIRST_START_BYTES if first else preflight.LATER_START_BYTES)
            _supervise(options, settings)
    except (DomainError, OperationalError) as error:
        sentence = error.detail if isinstance(error, DomainError) else f"Cannot use the database: {error.orig}"
        print(sentence, file=sys.stderr)
        return 1
    return 0


def _supervise(options: UpOptions, settings: Settings) -> None:
    _remove_ready_file(options)
    supervisor = Supervisor(settings.home / "logs", say, verbose=options.verbose)
    with _stopped_by_signals(supervisor):
        try:
            _start_servers(supervisor, settings)
            _serve(supervisor, options, embedded.with_urls(settings))
        except Stopped:
            say("Stopping; the trainer ends its job first. Ctrl-C again stops at once, and costs that job.")
        finally:
            _remove_ready_file(options)
            _stop(supervisor)
    say("Stopped.")


@contextmanager
def _stopped_by_signals(supervisor: Supervisor) -> Iterator[None]:
    def stop(number: int, _: FrameType | None) -> None:
        if supervisor.stopping:
            raise SystemExit(128 + number)  # the children die with this process
        supervisor.stopping = True

    before = {which: signal.signal(which, stop) for which in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


def _start_servers(supervisor: Supervisor, settings: Settings) -> None:
    postgres, valkey = embedded.servers(settings.home)
    if settings.database_url is None:
        say("Starting PostgreSQL")
        postgres.prepare()
        supervisor.start(postgres.child())
        supervisor.wait("postgres", postgres.is_ready, POSTGRES_START_SECONDS)
        postgres.ensure_database()
    if settings.broker_url is None:
        say("Starting Valkey")
        valkey.prepare()
        supervisor.start(valkey.child())
        supervisor.wait("valkey", valkey.is_ready)


def _serve(supervisor: Supervisor, options: UpOptions, settings: Settings) -> None:
    factory = _migrated(settings)
    base_model = _base_model(supervisor, options, settings, factory)
    say("Starting web server and workers")
    plant.clear_figures(settings)
    for child in plant.children(settings):
        supervisor.start(child)
    supervisor.wait("web", lambda: _answers(settings))
    greeting = welcome.prepare(factory, settings, base_model=base_model, preset=options.preset)
    _greet(greeting)
    if options.ready_file is not None:
        _wait_for_comparison(supervisor, factory, greeting)
        write_ready_file(options.ready_file, greeting)
    while True:
        supervisor.poll()


def _migrated(settings: Settings) -> SessionFactory:
    owner = make_engine(settings.need_owner_url(), pool_size=1)
    migrating.upgrade(owner)
    migrating.let_in(owner, settings.need_database_url())
    owner.dispose()
    return make_session_factory(make_engine(settings.need_database_url(), pool_size=1))


def _base_model(supervisor: Supervisor, options: UpOptions, settings: Settings, factory: SessionFactory) -> str | None:
    """The base model to start from, fetched unless a run goes on; None if one does and nobody asked for a model."""
    with session_scope(factory) as session:
        if welcome.goes_on(session, options.model):
            return options.model
    asked = () if options.model is None else (options.model,)
    code, output = supervisor.run(plant.command(settings, "fetch-model", *asked))
    if code or not output.strip():
        raise UnavailableError("There is no base model to start from. Give one that can be had with --model.")
    return output.strip().splitlines()[-1]


def _answers(settings: Settings) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    try:
        return httpx.get(f"http://{host}:{settings.port}/health/live", timeout=2.0, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _wait_for_comparison(supervisor: Supervisor, factory: SessionFactory, greeting: welcome.Welcome) -> None:
    next_check = 0.0
    while True:
        supervisor.poll()
        if time.monotonic() < next_check:
            continue
        next_check = time.monotonic() + READY_CHECK_SECONDS
        try:
            if welcome.is_ready(factory, greeting.run_id):
                return
        except OperationalError:  # PostgreSQL was killed and comes back
            continue


def write_ready_file(path: Path, greeting: welcome.Welcome) -> None:
    """Write the file whole, readable by its owner alone."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        json.dump({name: str(value) for name, value in asdict(greeting).items()}, out)
    fresh.replace(path)


def _remove_ready_file(options: UpOptions) -> None:
    if options.ready_file is not None:
        options.ready_file.unlink(missing_ok=True)


def _greet(greeting: welcome.Welcome) -> None:
    say(f"\nPrefloop is at {greeting.url}\n")
    say(f"  to label:       {greeting.labeler_link}")
    say(f"  to watch it:    {greeting.researcher_link}")
    say("\nEach link signs in once. Ctrl-C stops; everything is kept for the next start.\n")


def _stop(supervisor: Supervisor) -> None:
    """People and trainers first, then what they stand on."""
    supervisor.stop(("web", "tick", "control", "trainer"))
    supervisor.stop()


def say(line: str) -> None:
    """One line for the person at the terminal."""
    print(line, flush=True)
