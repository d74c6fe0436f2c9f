"""A whole Prefloop in its own process, for tests that start and kill it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil

from tests.processes import wait_for_end, wait_until
from tests.tiny import save_tiny_model

COMMAND = (sys.executable, "-P", "-c", "from app.cli import main; main()")


MARKS = {
    "bin/postgres": "postgres",
    "valkey-server": "valkey",
    "uvicorn": "web",
    "workers.control": "control",
    "workers.tasks": "trainer",
    " beat ": "tick",
}
"""What in its command line betrays each part."""


def command_line(process: psutil.Process) -> str:
    """The command line, empty if the process has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


class RunningPrefloop:
    """`prefloop up` on a tiny model, in a home folder of its own.

    Args:
        home: its folder; a path of at most about 60 characters that any account can reach.
        command: what to start instead of the command of this checkout.
    """

    def __init__(self, home: Path, port: int, *words: str, command: tuple[str, ...] = COMMAND) -> None:
        self.home = home
        self.ready_file = home / "ready.json"
        home.mkdir(mode=0o711, exist_ok=True)
        model = home / "tiny"
        if not model.exists():
            save_tiny_model(model)
        facts = {"PREFLOOP_HOME": str(home), "PREFLOOP_PORT": str(port), "OMP_NUM_THREADS": "1"}
        facts["PREFLOOP_WEB_PROCESSES"] = "2"  # also where there are too few cores for it
        up = ("up", f"--model={model}", f"--ready-file={self.ready_file}", *words)
        self.ready_file.unlink(missing_ok=True)  # that of a killed start
        self.log = home / "terminal.txt"
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                (*command, *up), env={**os.environ, **facts}, cwd=home, stdout=out, stderr=subprocess.STDOUT
            )

    def ready(self, seconds: float = 300.0) -> dict[str, str]:
        """What the ready file says, once it is there."""
        until = time.monotonic() + seconds
        while not self.ready_file.exists():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.1)
        facts: dict[str, str] = json.loads(self.ready_file.read_text())
        return facts

    def client(self) -> httpx.Client:
        """A client of the API as the researcher, who may also label."""
        ready = self.ready()
        return httpx.Client(
            base_url=ready["url"],
            timeout=60.0,
            headers={"Authorization": f"Bearer {ready['api_token']}"},
            trust_env=False,
        )

    def children(self) -> dict[str, psutil.Process]:
        """The processes it supervises, by name."""
        parts = psutil.Process(self.process.pid).children()
        lines = {part: command_line(part) for part in parts}
        return {name: part for part, line in lines.items() for mark, name in MARKS.items() if mark in line}

    def part(self, name: str) -> psutil.Process:
        """One of them, once it runs: one that ended is started again after a pause."""
        wait_until(f"{name} to run", lambda: name in self.children(), seconds=120)
        return self.children()[name]

    def stop(self, seconds: float = 200.0) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self.process.poll() is not None:
            return
        parts = [part.pid for part in psutil.Process(self.process.pid).children()]
        self.process.kill()
        self.process.wait()
        wait_for_end(parts)
