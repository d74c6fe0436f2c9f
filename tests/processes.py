"""Whether processes still run. One that nobody has waited for yet has ended all the same."""

import time
from collections.abc import Callable, Iterable

import psutil


def alive(pid: int) -> bool:
    """Whether the process runs."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_until(what: str, is_so: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something to become true, and fail naming it."""
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(0.1)


def wait_for_end(pids: Iterable[int], seconds: float = 30.0) -> None:
    """Wait until none of the processes runs, and fail if one goes on."""
    pids = list(pids)
    wait_until("the end of all processes", lambda: not any(map(alive, pids)), seconds)
