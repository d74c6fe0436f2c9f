"""Start processes in order, keep them running, stop them cleanly.

Used from one thread, the main one: Linux ties a child's life to the thread that started it (`app.launch`).
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from app.errors import UnavailableError
from app.settings import child_environment

LAUNCHER = Path(__file__).parent / "launch.py"
POLL_SECONDS = 0.1
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
SETTLED_SECONDS = 30.0
"""A child that ran this long and then dies is started again without a growing pause."""
DEATHS_AT_START = 3
"""A child that dies this often before it is ready will not become ready."""
LOG_BYTES = 20 * 1024 * 1024
EXPECTED = r"(?!.*the database system is (starting up|shutting down))"
"""PostgreSQL's answer to whoever asks too early is no news."""
IMPORTANT = re.compile(rf"^{EXPECTED}(.*\b(error|critical|fatal|panic)\b|\w+(\.\w+)*Error\b)", re.IGNORECASE)

Say = Callable[[str], None]


class Stopped(Exception):  # noqa: N818 - not an error: somebody asked for it
    """The supervisor was told to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A program to keep running. Plain data."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    """Added to this process's environment."""
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0
    """How long it may take to stop before it is killed."""
    orphan_signal: signal.Signals = signal.SIGKILL
    """What it gets when the supervisor itself is killed."""
    nice: int = 0
    """How far it lets others go first, 0 to 19."""
    not_root: Path | None = None
    """Set for a program that refuses to run as root: the folder it owns."""


def launched(child: Child) -> list[str]:
    """The command line that runs `child` so that it does not outlive this process."""
    identity = ["--as-nobody", str(child.not_root)] if child.not_root else []
    manners = ["--nice", str(child.nice)] if child.nice else []
    fate = [str(int(child.orphan_signal)), str(os.getpid())]
    return [sys.executable, "-I", "-S", str(LAUNCHER), *identity, *manners, *fate, *child.argv]


class _Running:
    """A child, its process and its log."""

    def __init__(self, child: Child, log_dir: Path) -> None:
        self.child = child
        self.log = log_dir / f"{child.name}.log"
        self.deaths = 0
        self.due: float | None = None
        """When to start it again; None while it runs."""
        self.read_to = self.log.stat().st_size if self.log.exists() else 0
        self.start()

    def start(self) -> None:
        self.started = time.monotonic()
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                launched(self.child),
                env=child_environment(self.child.env),
                cwd=self.child.cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which then stops all in order
            )

    def restart_when_due(self) -> str | None:
        """Start a dead child again after a pause that doubles each time; what happened, if anything did."""
        code = self.process.poll()
        if code is None:
            return None
        now = time.monotonic()
        if self.due is None:
            if now - self.started > SETTLED_SECONDS:
                self.deaths = 0
            self.due = now + min(FIRST_PAUSE_SECONDS * 2**self.deaths, LONGEST_PAUSE_SECONDS)
            self.deaths += 1
            return f"{self.child.name} {ending(code)} and will be started again"
        if now >= self.due:
            self.due = None
            self.start()
        return None

    def new_lines(self) -> list[str]:
        """Whole lines written to the log since the last call; a log grown too long starts again, the old one kept."""
        size = self.log.stat().st_size
        if size == self.read_to:
            return []
        with self.log.open("rb") as log:
            log.seek(self.read_to)
            text, newline, _ = log.read().rpartition(b"\n")
        self.read_to += len(text) + len(newline)
        if size > LOG_BYTES:
            shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
            os.truncate(self.log, 0)  # the child appends, so it goes on at the new end
            self.read_to = 0
        return text.decode(errors="replace").splitlines()

    def stop(self) -> bool:
        """Wait for the end that `stop_signal` asked for; False if it had to be killed."""
        try:
            self.process.wait(self.child.stop_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # the whole session, so that its own children follow
            self.process.wait()
            return False
        return True


def ending(code: int) -> str:
    """How a process ended, in words."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


class Supervisor:
    """Keeps children running while `poll` is called.

    Args:
        log_dir: each child writes to `<name>.log` there.
        say: gets one line per event, and the important lines of the logs (all of them if `verbose`).
    """

    def __init__(self, log_dir: Path, say: Say, *, verbose: bool = False) -> None:
        log_dir.mkdir(parents=True, exist_ok=True)
        self._log_dir = log_dir
        self._say = say
        self._verbose = verbose
        self._running: list[_Running] = []
        self.stopping = False

    def start(self, child: Child) -> None:
        """Start a child and keep it running from now on."""
        self._running.append(_Running(child, self._log_dir))

    def wait(self, name: str, is_ready: Callable[[], bool], seconds: float = 180.0) -> None:
        """Poll until `is_ready`.

        Raises: UnavailableError if the child keeps dying or takes longer than `seconds`.
        """
        running = self._find(name)
        until = time.monotonic() + seconds
        while not is_ready():
            if running.deaths >= DEATHS_AT_START or time.monotonic() > until:
                raise UnavailableError(f"{name} does not start: see {running.log}.")
            self.poll()

    def run(self, child: Child) -> tuple[int, str]:
        """Run a child to its end while the others are kept running; its exit code and what it wrote to stdout.

        It shares this terminal for its progress.
        """
        with tempfile.TemporaryFile() as out:
            process = subprocess.Popen(launched(child), env=child_environment(child.env), cwd=child.cwd, stdout=out)
            try:
                while process.poll() is None:
                    self.poll()
            finally:
                process.kill()
                process.wait()
            out.seek(0)
            return process.returncode, out.read().decode()

    def poll(self) -> None:
        """Restart what died and pass on what the logs say; takes a moment.

        Raises: Stopped once `stopping` is set, as by a signal handler.
        """
        if self.stopping:
            raise Stopped
        for running in self._running:
            event = running.restart_when_due()
            if event:
                self._say(event)
            self._pass_on(running)
        time.sleep(POLL_SECONDS)

    def pid(self, name: str) -> int:
        """Process id of the child `name`."""
        return self._find(name).process.pid

    def stop(self, names: Iterable[str] | None = None) -> None:
        """Stop the children `names` (None: all) together, kill what does not go in time, and forget them."""
        chosen = [r for r in self._running if names is None or r.child.name in set(names)]
        self._running = [r for r in self._running if r not in chosen]
        for running in chosen:
            running.process.send_signal(running.child.stop_signal)
        for running in chosen:
            if not running.stop():
                self._say(f"{running.child.name} did not stop in {running.child.stop_seconds:.0f} s and was killed")

    def _pass_on(self, running: _Running) -> None:
        for line in running.new_lines():
            if self._verbose or IMPORTANT.search(line):
                self._say(f"{running.child.name} | {line}")

    def _find(self, name: str) -> _Running:
        return next(running for running in self._running if running.child.name == name)
