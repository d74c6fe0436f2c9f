"""`prefloop doctor`: what a site needs, part by part, and how to mend what is wrong. It changes nothing."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import fsspec
import httpx
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from kombu import Connection
from sqlalchemy import Connection as DatabaseConnection
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import migrating, preflight, reports, retention
from app.broker import TRANSPORT_OPTIONS
from app.db import make_engine
from app.errors import ConflictError
from app.models import Audit, Job, JobState
from app.settings import Settings

CLOCK_SECONDS = 5.0
"""Clocks further apart make times on pages wrong; nothing in the loop depends on them."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Health(StrEnum):
    """How a part is."""

    OK = "ok"
    ODD = "odd"
    """It works, but somebody should look."""
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found out about one part."""

    part: str
    health: Health
    said: str
    """What there is."""
    mend: str = ""
    """What to do about it."""


def examine(settings: Settings) -> Iterator[Finding]:
    """All findings, one by one as they are made.

    Args:
        settings: with the URLs of database and broker, if there are any.
    """
    yield _disk(settings)
    yield from _database(settings)
    yield _broker(settings)
    yield _gpu()
    yield _models(settings)
    yield _checkpoints(settings, _wanted(settings))
    yield _address(settings)


def _disk(settings: Settings) -> Finding:
    folder = next(place for place in (settings.home, *settings.home.parents) if place.exists())
    free = shutil.disk_usage(folder).free / preflight.GIB
    said = f"{free:.1f} GiB free for {settings.home}"
    if free < 0.5:
        return _bad("disk", said, "Checkpoints and jobs stop below 512 MiB: free some, or see `prefloop gc`.")
    if free < 5:
        return _odd("disk", said, "A few checkpoints of a larger model fill this: `prefloop gc` lists what may go.")
    return _ok("disk", said)


def _database(settings: Settings) -> Iterator[Finding]:
    if settings.database_url is None:
        yield _bad("database", "no URL", "Set PREFLOOP_DATABASE_URL, or start everything with `prefloop up`.")
        return
    engine = make_engine(settings.database_url, pool_size=1)
    try:
        with engine.connect() as connection:
            yield _server(connection)
        newest = _migrations(engine)
        yield from (newest, _clock(engine), _audit(engine))
        if newest.health == Health.OK:  # an older one has not all that these read
            yield from (_jobs(engine, settings), _workers(engine))
    except SQLAlchemyError as error:
        why = str(getattr(error, "orig", error)).strip().splitlines()[0]
        yield _bad("database", why, "Is it running, and is PREFLOOP_DATABASE_URL its address?")
    finally:
        engine.dispose()


def _server(connection: DatabaseConnection) -> Finding:
    said = f"PostgreSQL {connection.scalar(text('show server_version'))} answers"
    try:
        migrating.require_server(connection.dialect.server_version_info)
    except ConflictError as error:
        return _bad("database", said, error.detail)
    return _ok("database", said)


def _migrations(engine: Engine) -> Finding:
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    newest = ScriptDirectory.from_config(migrating.config()).get_current_head()
    if found == newest:
        return _ok("schema", f"at {found}, the newest")
    return _bad("schema", f"at {found}, this version needs {newest}", "Run `prefloop migrate`.")


def _clock(engine: Engine) -> Finding:
    with engine.connect() as connection:
        before = time.time()
        there = float(connection.scalar(select(func.extract("epoch", func.clock_timestamp()))) or 0)
        apart = abs(there - (before + time.time()) / 2)
    said = f"{apart:.1f} s from the database's"
    return _ok("clock", said) if apart < CLOCK_SECONDS else _odd("clock", said, "Run a time service on both machines.")


def _audit(engine: Engine) -> Finding:
    """Whether the role that the site uses could change what is in the audit log."""
    name = Audit.__tablename__
    asked = "select bool_or(has_table_privilege(:name, right_)) from unnest(array['update','delete','truncate']) right_"
    with engine.connect() as connection:
        role = connection.scalar(text("select current_user"))
        can = connection.scalar(text(asked), {"name": name})
    if not can:
        return _ok("audit", f"the role {role} can add to the log, not change it")
    return _odd(
        "audit",
        f"the role {role} owns the log; a trigger protects it, which its owner could drop",
        "Use a role of its own for the site: PREFLOOP_OWNER_DATABASE_URL, see docs/security.md.",
    )


def _jobs(engine: Engine, settings: Settings) -> Finding:
    by_state = select(Job.state, func.count().label("jobs")).group_by(Job.state)
    with engine.connect() as connection:
        counts = {row.state: row.jobs for row in connection.execute(by_state)}
        age = func.extract("epoch", func.clock_timestamp() - func.min(Job.sent_at))
        oldest = connection.scalar(select(age).where(Job.state == JobState.QUEUED))
    said = ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none yet"
    if failed := counts.get(JobState.FAILED):
        return _odd("jobs", said, f"{failed} failed: the run's page says why; resuming the run tries them again.")
    if oldest is not None and float(oldest) > 10 * settings.resend_seconds:
        return _bad("jobs", f"{said}; one waits for {float(oldest):.0f} s", "Does a trainer serve its queue?")
    return _ok("jobs", said)


def _broker(settings: Settings) -> Finding:
    if settings.broker_url is None:
        return _bad("broker", "no URL", "Set PREFLOOP_BROKER_URL. Labeling works without, training does not.")
    try:
        with Connection(settings.broker_url, transport_options=TRANSPORT_OPTIONS) as connection:
            connection.default_channel.client.ping()
    except Exception as error:  # whatever the transport raises is the finding
        return _bad("broker", f"does not answer ({type(error).__name__})", "Start it; labeling goes on meanwhile.")
    return _ok("broker", "answers")


def _workers(engine: Engine) -> Finding:
    with Session(engine) as session:
        found = reports.workers(session)
    missing = reports.unserved(found)
    gone = [worker for worker in found if not worker.lives]
    said = f"{len(found) - len(gone)} alive" if found else "none"
    if missing:
        mend = "Start a worker with `--queues` of these; in compose set COMPOSE_PROFILES to cpu or gpu."
        return _bad("workers", f"{said}; none serves {', '.join(missing)}", mend)
    if gone:
        names = ", ".join(f"{worker.name} for {worker.silent_seconds:.0f} s" for worker in gone)
        return _odd("workers", f"{said}; silent: {names}", "Look at its log; it is forgotten after a day.")
    return _ok("workers", said)


def _gpu() -> Finding:
    program = shutil.which("nvidia-smi")
    if program is None:
        return _ok("GPU", "none here; the trainer uses the processor")
    asked = [program, "--query-gpu=name,memory.total,memory.used", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        return _bad("GPU", "nvidia-smi fails", "The driver does not work: the trainer would use the processor.")
    return _ok("GPU", "; ".join(done.stdout.strip().splitlines()))


def _models(settings: Settings) -> Finding:
    found = [place.parent.name for place in settings.models_dir.glob("*/config.json")]
    if found:
        return _ok("models", f"{', '.join(sorted(found))} in {settings.models_dir}")
    return _odd("models", f"none in {settings.models_dir}", "`prefloop fetch-model` gets one; a run fetches its own.")


def _wanted(settings: Settings) -> set[str]:
    """Digests of checkpoints that must be somewhere; none where the database cannot tell."""
    if settings.database_url is None:
        return set()
    engine = make_engine(settings.database_url, pool_size=1)
    try:
        with Session(engine) as session:
            return retention.wanted_digests(session)
    except SQLAlchemyError:  # said of the database and its schema already
        return set()
    finally:
        engine.dispose()


def _checkpoints(settings: Settings, wanted: set[str]) -> Finding:
    if settings.store is not None:
        return _store(settings.store, wanted)
    place: Path = settings.checkpoints_dir
    if not place.exists() and not wanted:
        return _ok("checkpoints", f"none yet in {place}")
    if place.exists() and not os.access(place, os.W_OK | os.X_OK):
        return _bad("checkpoints", f"{place} cannot be written", "Give it to the user that runs the workers.")
    return _kept({one.parent.name for one in place.glob("*/manifest.json")}, wanted, f"in {place}")


def _store(url: str, wanted: set[str]) -> Finding:
    try:
        fs, place = fsspec.url_to_fs(url, use_listings_cache=False)
        there = {PurePosixPath(one).parent.name for one in fs.glob(f"{place.rstrip('/')}/*/manifest.json")}
    except Exception as error:  # each library has errors of its own
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        mend = "Look at PREFLOOP_STORE, its credentials and endpoint (AWS_...), and the network."
        return _bad("checkpoints", f"{url} does not answer ({why})", mend)
    return _kept(there, wanted, f"at {url}")


def _kept(there: set[str], wanted: set[str], where: str) -> Finding:
    said, gone = f"{len(there)} {where}", len(wanted - there)
    if not gone:
        return _ok("checkpoints", said)
    mend = "Is this where the trainers write (PREFLOOP_HOME, PREFLOOP_STORE)? If so, restore a backup: docs/backup.md."
    return _bad("checkpoints", f"{said}; {gone} of {len(wanted)} that runs need are missing", mend)


def _address(settings: Settings) -> Finding:
    parts = urlsplit(settings.site_url)
    said = settings.site_url
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        return _odd("address", f"{said} is not HTTPS", "Put a proxy with HTTPS before it and set PREFLOOP_PUBLIC_URL.")
    try:
        answer = httpx.get(f"{said}/health/live", timeout=5.0, trust_env=parts.hostname not in LOOPBACK)
    except httpx.HTTPError as error:
        return _bad("address", f"{said} does not answer ({type(error).__name__})", "Is the web server running?")
    if not answer.is_success:
        return _bad("address", f"{said} answers {answer.status_code}", "Does the proxy lead to the web server?")
    return _ok("address", f"{said} answers")


def _finding(health: Health) -> Callable[..., Finding]:
    def made(part: str, said: str, mend: str = "") -> Finding:
        return Finding(part=part, health=health, said=said, mend=mend)

    return made


_ok, _odd, _bad = map(_finding, Health)
