"""The programs of Prefloop on one machine, as data for the supervisor."""

import os
import shutil
import sys
from pathlib import Path

from app.jobs import Queue
from app.settings import Settings
from app.supervisor import Child

TRAINER_STOP_SECONDS = 180.0
"""Generous: the trainer ends its job and saves before it goes."""
TRAINER_NICE = 5
"""People who label must not wait for a trainer that takes all cores; where nobody wants them it has them still. Of a
core that another program wants all the time it gets a quarter; at 10 it would be a tenth, and its threads wait for the
slowest of them."""
CONTROL_THREADS = 4
MOST_WEB_PROCESSES = 4
"""Each may use up to 45 connections to PostgreSQL."""


def children(settings: Settings) -> list[Child]:
    """Web server, workers and tick. `settings` must name the database and the broker."""
    trainer_queues = (Queue.SAMPLING, Queue.REWARD, Queue.POLICY)
    return [
        _child(
            settings,
            "trainer",
            *_worker("tasks", trainer_queues),
            "--pool=solo",
            stop=TRAINER_STOP_SECONDS,
            nice=TRAINER_NICE,
        ),
        _child(settings, "web", *_web(settings), stop=15.0, env=_adding_up(settings)),
        _child(
            settings,
            "control",
            *_worker("control", (Queue.CONTROL,)),
            "--pool=threads",
            f"--concurrency={CONTROL_THREADS}",
            stop=30.0,
        ),
        _child(settings, "tick", *_tick(), stop=10.0),
    ]


def command(settings: Settings, *words: str) -> Child:
    """The `prefloop` command itself, in this Python, for one run in the folder of the caller."""
    program = "from app.cli import main; main()"
    return Child(name=words[0], argv=(sys.executable, "-P", "-c", program, *words), env=environment(settings))


def environment(settings: Settings) -> dict[str, str]:
    """What the programs must know that the caller may have given on the command line instead."""
    return {
        "PREFLOOP_HOME": str(settings.home),
        "PREFLOOP_HOST": settings.host,
        "PREFLOOP_PORT": str(settings.port),
        "PREFLOOP_DATABASE_URL": settings.need_database_url(),
        "PREFLOOP_BROKER_URL": settings.need_broker_url(),
    }


def web_processes(settings: Settings) -> int:
    """How many processes answer requests."""
    return settings.web_processes or max(1, min(MOST_WEB_PROCESSES, (os.cpu_count() or 1) // 2))


def clear_figures(settings: Settings) -> None:
    """Make room for the figures that the web processes add up; those of the last start are over."""
    shutil.rmtree(_figures(settings), ignore_errors=True)
    _figures(settings).mkdir(parents=True)


def _figures(settings: Settings) -> Path:
    return settings.home / "metrics"


def _child(
    settings: Settings, name: str, *argv: str, stop: float, nice: int = 0, env: dict[str, str] | None = None
) -> Child:
    return Child(
        name=name,
        argv=(sys.executable, "-P", "-m", *argv),
        env=environment(settings) | (env or {}),
        cwd=settings.home,  # uvicorn and Celery import from the current folder first, which may hold another `app`
        stop_seconds=stop,
        nice=nice,
    )


def _web(settings: Settings) -> tuple[str, ...]:
    server = ("uvicorn", "app.main:create_app", "--factory", "--no-access-log")
    # Open progress streams must not hold up the end: the browser connects again. Somebody who thinks stays connected.
    # While a trainer has the cores, a process may take long to say that it lives.
    waits = ("--timeout-graceful-shutdown=3", "--timeout-keep-alive=75", "--timeout-worker-healthcheck=60")
    where = (f"--workers={web_processes(settings)}", f"--host={settings.host}", f"--port={settings.port}")
    return (*server, *waits, *where)


def _adding_up(settings: Settings) -> dict[str, str]:
    return {} if web_processes(settings) == 1 else {"PROMETHEUS_MULTIPROC_DIR": str(_figures(settings))}


def _worker(module: str, queues: tuple[Queue, ...]) -> tuple[str, ...]:
    app = ("celery", f"--app=workers.{module}", "worker", f"--hostname={module}@%h", f"--queues={','.join(queues)}")
    # Celery's own word on every message would fill the disk: the tick sends one each second.
    return (*app, "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING")


def _tick() -> tuple[str, ...]:
    # The schedule is one entry every second: nothing worth a file that a kill could spoil.
    return (
        "celery",
        "--app=workers.celery_app",
        "beat",
        "--scheduler=celery.beat:Scheduler",
        "--loglevel=WARNING",
        "--pidfile=",
    )
