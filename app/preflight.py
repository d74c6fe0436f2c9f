"""What must hold before anything is started: the folder is ours, there is room, the port is free."""

import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import UnavailableError

GIB = 1024**3
FIRST_START_BYTES = 3 * GIB
"""Room for the database, a small base model and its first checkpoints."""
LATER_START_BYTES = GIB // 4


@contextmanager
def claimed(home: Path) -> Iterator[None]:
    """Hold the home folder for this process; the kernel lets go of it even after `kill -9`.

    Raises: UnavailableError if the folder cannot be used or another process holds it.
    """
    try:
        home.mkdir(mode=0o711, parents=True, exist_ok=True)  # PostgreSQL started by root must reach its folder inside
        lock = (home / "up.lock").open("a+")
    except OSError as error:
        raise UnavailableError(
            f"Cannot use {home}: {error.strerror}. Choose another folder with PREFLOOP_HOME."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise UnavailableError(
                f"Prefloop already runs on {home} (process {lock.read().strip()}): "
                "stop it first, or choose another folder with PREFLOOP_HOME."
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def check_room(folder: Path, needed: int) -> None:
    """Raise UnavailableError unless `needed` bytes are free in `folder`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UnavailableError(
            f"Only {free / GIB:.1f} GiB are free in {folder}, Prefloop needs {needed / GIB:.1f}: "
            "free some, or choose another folder with PREFLOOP_HOME."
        )


def check_port(host: str, port: int) -> None:
    """Raise UnavailableError unless this process may listen on `host` and `port`."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as tried:
            tried.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # as the server does: a just closed port is free
            tried.bind(address)
            tried.listen()
    except OSError as error:
        raise UnavailableError(
            f"Cannot listen on {host} port {port} ({error.strerror}): choose another port with PREFLOOP_PORT."
        ) from error
