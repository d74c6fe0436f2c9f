"""The programs of Prefloop on one machine, as data for the supervisor."""

import sys

from app.jobs import Queue
from app.settings import Settings
from app.supervisor import Child

TRAINER_STOP_SECONDS = 180.0
"""Generous: the trainer ends its job and saves before it goes."""
CONTROL_THREADS = 4


def children(settings: Settings) -> list[Child]:
    """Web server, workers and tick. `settings` must name the database and the broker."""
    trainer_queues = (Queue.SAMPLING, Queue.REWARD, Queue.POLICY)
    return [
        _child(settings, "trainer", *_worker("tasks", trainer_queues), "--pool=solo", stop=TRAINER_STOP_SECONDS),
        _child(settings, "web", *_web(settings), stop=15.0),
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


def _child(settings: Settings, name: str, *argv: str, stop: float) -> Child:
    return Child(
        name=name,
        argv=(sys.executable, "-P", "-m", *argv),
        env=environment(settings),
        cwd=settings.home,  # uvicorn and Celery import from the current folder first, which may hold another `app`
        stop_seconds=stop,
    )


def _web(settings: Settings) -> tuple[str, ...]:
    # Open progress streams must not hold up the end: the browser connects again.
    server = ("uvicorn", "app.main:create_app", "--factory", "--no-access-log", "--timeout-graceful-shutdown=3")
    return (*server, f"--host={settings.host}", f"--port={settings.port}")


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
