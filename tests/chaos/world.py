"""A whole Prefloop on a clock that can be set, with a small run and people who label it."""

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import libfaketime
from sqlalchemy import Engine, create_engine, func, select
from sqlalchemy.orm import Session

from app.embedded import Postgres, Valkey
from app.models import Comparison, Job, JobState, Label, Phase, Run
from app.simulate import Options, Summary, load_rule, simulate
from tests.processes import wait_until
from tests.running import RunningPrefloop
from workers.checkpoints import CheckpointStore

BATCH = 8
LABELERS = 3
QUICK = {"PREFLOOP_HEARTBEAT_SECONDS": "0.5", "PREFLOOP_STALE_SECONDS": "5", "PREFLOOP_RESEND_SECONDS": "3"}
FAKETIME = Path(libfaketime.__file__).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"


@dataclass(kw_only=True)
class World:
    """What is at the mercy of the events."""

    prefloop: RunningPrefloop
    run_id: str
    engine: Engine
    """Of the database, with the clock of this process."""
    clock: Path
    """Holds how many seconds the machine's clock is ahead, for all processes of Prefloop."""
    resumed: int = 0
    """How often a researcher had to let failed jobs be tried again."""

    @property
    def store(self) -> CheckpointStore:
        """The checkpoints."""
        return CheckpointStore(self.prefloop.home / "checkpoints")

    @property
    def valkey(self) -> Valkey:
        """The broker."""
        return Valkey(data=self.prefloop.home / "valkey")

    def run(self, session: Session) -> Run:
        """The run's row."""
        return session.scalars(select(Run).where(Run.id == self.run_id)).one()

    def progress(self) -> int:
        """Labels and PPO updates so far; 0 while the database is away."""
        try:
            with Session(self.engine) as session:
                of_run = (
                    select(func.count()).select_from(Label).join(Comparison).where(Comparison.run_id == self.run_id)
                )
                return (session.scalar(of_run) or 0) + self.run(session).episodes // BATCH
        except Exception:  # whatever is away just now
            return 0

    def finished(self) -> bool:
        """Whether all episodes are done; failed jobs are tried again on the way, as a researcher would."""
        try:
            with Session(self.engine) as session:
                failed = select(Job.id).where(Job.run_id == self.run_id, Job.state == JobState.FAILED)
                failed = failed.where(Job.kind.not_in(("import_labels", "generate")))
                broken = session.scalars(failed).all()
                if self.run(session).phase == Phase.FINISHED:
                    return True
            if broken:
                self.post(f"/api/v1/runs/{self.run_id}/pause", {"note": "jobs failed"})
                self.post(f"/api/v1/runs/{self.run_id}/resume", {"note": "try again"})
                self.resumed += 1
        except Exception:  # whatever is away just now
            return False
        return False

    def quiet(self) -> bool:
        """Whether no job is in hand."""
        in_hand = (Job.run_id == self.run_id, Job.state.in_((JobState.QUEUED, JobState.RUNNING)))
        with Session(self.engine) as session:
            return not session.scalar(select(func.count()).select_from(Job).where(*in_hand))

    def post(self, path: str, body: dict[str, Any] | bytes) -> dict[str, Any]:
        """As the researcher; tried until the site answers."""
        made: list[dict[str, Any]] = []

        def answered() -> bool:
            content: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
            try:
                with self.prefloop.client() as client:
                    made.append(client.post(path, **content).raise_for_status().json())
            except httpx.HTTPStatusError as error:
                if error.response.status_code < 500:
                    raise
                return False
            except httpx.TransportError:
                return False
            return True

        wait_until(f"an answer to POST {path}", answered, seconds=60)
        return made[-1]


def hparams(events: int) -> dict[str, Any]:
    """A run that lasts about as long as the events."""
    labels = 40 + 4 * events
    return {
        "reward": {"normalization_samples": 32},
        "ppo": {"episodes": (12 + events) * BATCH, "batch": BATCH, "micro_batch": BATCH, "kl_horizon": 80},
        "schedule": {
            "initial_labels": 10,
            "total_labels": labels,
            "reward_trainings": 4,
            "outstanding": 12,
            "promote_episodes": 3 * BATCH,
        },
    }


@contextmanager
def world(home: Path, events: int) -> Iterator[World]:
    """Everything, started; and stopped at the end."""
    with socket.create_server(("127.0.0.1", 0)) as tried:
        port = tried.getsockname()[1]
    home.mkdir(mode=0o711, exist_ok=True)
    clock = home / "clock"
    clock.write_text("+0")
    clock.chmod(0o644)
    faked = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1"}
    given = QUICK | faked | {"DONT_FAKE_MONOTONIC": "1"}
    before = dict(os.environ)
    os.environ.update(given)
    try:
        started = RunningPrefloop(home, port)
    finally:
        os.environ.clear()
        os.environ.update(before)
    with started as prefloop:
        body = {"name": "chaos", "base_model": str(home / "tiny"), "hparams": hparams(events)}
        with prefloop.client() as client:
            run_id = client.post("/api/v1/runs", json=body).raise_for_status().json()["id"]
        engine = create_engine(Postgres(data=home / "postgres").url(), pool_pre_ping=True)
        yield World(prefloop=prefloop, run_id=run_id, engine=engine, clock=clock)
        engine.dispose()


@contextmanager
def labeled(made: World, seed: int) -> Iterator[list[Summary]]:
    """People label for the block; what they did is in the list afterwards."""
    ready = made.prefloop.ready()
    options = Options(
        url=ready["url"],
        token=ready["api_token"],
        rule=load_rule("longest"),
        run_id=made.run_id,
        labelers=LABELERS,
        seconds_per_label=0.5,
        seed=seed,
    )
    stop = Event()
    done: list[Summary] = []
    with ThreadPoolExecutor(1) as pool:
        labeling = pool.submit(simulate, options, stop, lambda _: None)
        try:
            yield done
        finally:
            stop.set()
        done.append(labeling.result(60))
