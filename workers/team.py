"""Several processes that train together, as their trainer sees them: started by `torchrun`, given orders, ended.

They stay between jobs, so that models stay in memory; whatever goes wrong ends all of them, and the next job starts
others. None outlives its trainer: the launcher is tied to it, and they are tied to the launcher.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import structlog
import torch

from app.settings import child_environment
from app.supervisor import Child, ending, launched
from workers.plans import PPOPlan, PPOResult, RewardPlan
from workers.ppo_job import Told
from workers.team_words import (
    Done,
    Equipment,
    FitReward,
    Here,
    MayGoOn,
    Order,
    Raised,
    TeamError,
    TrainPolicy,
    Updated,
)

START_SECONDS = 600.0
"""Until all processes have loaded their libraries."""
POLL_SECONDS = 0.5
GRACE_SECONDS = 2.0
"""Between a process's end and the news of it: those that waited for it fail at once."""
STOP_SECONDS = 30.0
"""A process takes some to take its libraries down, more where others have the cores."""

log = structlog.get_logger()

Answers = Callable[[MayGoOn | Updated], bool | None]


class Team:
    """At most so many processes, none before the first order."""

    def __init__(self, processes: int, equipment: Equipment) -> None:
        self.processes = processes
        self.equipment = equipment
        self._running: _Running | None = None

    @property
    def pids(self) -> list[int]:
        """Of the processes that run, by rank."""
        return [] if self._running is None else [here.pid for here in self._running.members]

    def fit_for(self, rows: int) -> int:
        """The most processes that share so many rows evenly."""
        return max(n for n in range(1, self.processes + 1) if rows % n == 0)

    def train_policy(
        self, plan: PPOPlan, *, may_go_on: Callable[[], bool], told: Told | None = None
    ) -> PPOResult | None:
        """As `ppo_job.run`. Raises: what it raises; TeamError if a process ended."""

        def heard(word: MayGoOn | Updated) -> bool | None:
            if isinstance(word, MayGoOn):
                return may_go_on()
            if told is not None:
                told(word.update, word.stats)
            return None

        size = self.fit_for(plan.hparams.ppo.minibatch)
        result: PPOResult | None = self._carried_out(TrainPolicy(plan=plan), size, heard)
        return result

    def fit_reward(self, plan: RewardPlan) -> tuple[str, dict[str, Any]]:
        """As `Workshop.fit_reward`. Raises: what it raises; TeamError if a process ended."""
        size = self.fit_for(plan.hparams.ppo.minibatch)  # those that train the policy
        result: tuple[str, dict[str, Any]] = self._carried_out(FitReward(plan=plan), size, lambda _: None)
        return result

    def disband(self) -> None:
        """End all processes; there need be none."""
        self._end(at_once=False)

    def _carried_out(self, order: Order, size: int, heard: Answers) -> Any:
        try:
            return self._assembled(size).carry_out(order, heard)
        except BaseException:  # an end of the trainer itself, too: what they hold is half-done
            self._end(at_once=True)
            raise

    def _end(self, *, at_once: bool) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.end(at_once=at_once)

    def _assembled(self, size: int) -> "_Running":
        if self._running is not None and (len(self._running.members) != size or not self._running.idle):
            self.disband()
        if self._running is None:
            _require_gpus(size)
            self._running = _Running(size, self.equipment)
        return self._running


class _Running:
    """A launcher, its processes, and a connection to each."""

    def __init__(self, size: int, equipment: Equipment) -> None:
        self.members: list[Here] = []
        self._lines: list[Connection] = []
        self._folder = Path(tempfile.mkdtemp(prefix="prefloop-team-"))  # only this account may enter it
        threads = max(1, (equipment.threads or os.cpu_count() or 1) // size)
        address = self._folder / "orders"
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(str(address))
            door.listen(size)
            door.settimeout(POLL_SECONDS)
            self._launcher = subprocess.Popen(
                launched(_program(size, address, replace(equipment, threads=threads))),
                env=child_environment({"OMP_NUM_THREADS": str(threads)}),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C reaches the trainer alone, which then ends them
            )
            try:
                self._let_in(door, size)
            except BaseException:
                self.end(at_once=True)
                raise
        log.info("team_started", processes=size, threads=threads)

    @property
    def idle(self) -> bool:
        """Whether all are there and wait for an order."""
        return self._launcher.poll() is None and not wait(self._lines, timeout=0)

    def carry_out(self, order: Order, heard: Answers) -> Any:
        """Give all the order, answer what the first asks, and return its result."""
        for rank in range(len(self._lines)):
            self._say(rank, order)
        results: dict[int, Any] = {}
        while len(results) < len(self._lines):
            for rank in self._speaking(set(range(len(self._lines))) - results.keys(), timeout=None):
                match word := self._hear(rank):
                    case Done():
                        results[rank] = word.result
                    case Raised():
                        raise self._reason(rank, word)
                    case _:
                        answer = heard(word)
                        if answer is not None:
                            self._say(rank, answer)
        return results[0]

    def end(self, *, at_once: bool) -> None:
        """Hang up, whereupon whoever waits for an order ends; then insist.

        Args:
            at_once: some may wait for one that is gone, and would not hear.
        """
        for line in self._lines:
            line.close()
        for insist in (signal.SIGTERM, signal.SIGKILL) if at_once else (None, signal.SIGTERM, signal.SIGKILL):
            if insist is not None:
                self._launcher.send_signal(insist)
            try:
                self._launcher.wait(STOP_SECONDS)
                break
            except subprocess.TimeoutExpired:
                continue
        shutil.rmtree(self._folder, ignore_errors=True)
        log.info("team_ended")

    def _let_in(self, door: socket.socket, size: int) -> None:
        until = time.monotonic() + START_SECONDS
        came: dict[int, tuple[Here, Connection]] = {}
        while len(came) < size:
            if (code := self._launcher.poll()) is not None:
                raise TeamError(f"torchrun {ending(code)} before its {size} processes were there: see the log.")
            if time.monotonic() > until:
                raise TeamError(f"only {len(came)} of {size} processes came in {START_SECONDS:.0f} s: see the log.")
            try:
                line = Connection(door.accept()[0].detach())
            except TimeoutError:
                continue
            self._lines.append(line)
            here: Here = line.recv()
            came[here.rank] = (here, line)
        self.members = [came[rank][0] for rank in range(size)]
        self._lines = [came[rank][1] for rank in range(size)]

    def _speaking(self, ranks: set[int], timeout: float | None) -> list[int]:
        ready = wait([self._lines[rank] for rank in ranks], timeout)
        return [rank for rank in sorted(ranks) if self._lines[rank] in ready]

    def _say(self, rank: int, word: object) -> None:
        try:
            self._lines[rank].send(word)
        except OSError as error:
            raise self._gone(rank) from error

    def _hear(self, rank: int) -> Any:
        try:
            return self._lines[rank].recv()
        except (EOFError, OSError) as error:
            raise self._gone(rank) from error

    def _reason(self, rank: int, raised: Raised) -> Exception:
        """Why an order failed: a process that waits for one that is gone raises too, and says less."""
        others, until = set(range(len(self._lines))) - {rank}, time.monotonic() + GRACE_SECONDS
        while others and (left := until - time.monotonic()) > 0:
            for other in self._speaking(others, left):
                try:
                    said = self._hear(other)
                except TeamError as gone:
                    return gone
                if isinstance(said, Raised | Done):
                    others.discard(other)
        return raised.error

    def _gone(self, rank: int) -> TeamError:
        return TeamError(
            f"process {rank} of the {len(self._lines)} that train together ended in the middle of the work; was it "
            "killed, or out of memory? See the trainer's log."
        )


def _program(size: int, address: Path, equipment: Equipment) -> Child:
    """`-P`: the current folder may hold other modules of our names."""
    torchrun = ("torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={size}")
    member = (sys.executable, "-P", "-m", "workers.team_member", str(address))
    argv = (sys.executable, "-P", "-m", *torchrun, "--no-python", *member, equipment.to_json())
    return Child(name="team", argv=argv)


def _require_gpus(size: int) -> None:
    if torch.cuda.is_available() and (found := torch.cuda.device_count()) < size:
        raise TeamError(
            f"{size} processes want a GPU each, but {found} can be seen: set PREFLOOP_TRAINER_PROCESSES to {found}."
        )
