"""What the tasks of both kinds of worker stand on: settings and sessions, once per process."""

import socket
from functools import cached_property
from threading import Event

from celery import Task
from celery.signals import worker_shutting_down

from app.broker import BrokerSender
from app.db import SessionFactory, make_engine, make_session_factory
from app.settings import Settings

POOL_SIZE = 8
"""Connections per worker process: its threads, a heartbeat, and room."""


def worker_name(hostname: str) -> str:
    """What the tables call a worker process: its host, and what Celery calls it."""
    return f"{socket.gethostname()}:{hostname}"


class DatabaseTask(Task):  # type: ignore[misc]
    """A task with a database. Celery makes one instance of each task per process."""

    abstract = True

    @cached_property
    def settings(self) -> Settings:
        """Settings of this process."""
        return Settings()

    @cached_property
    def factory(self) -> SessionFactory:
        """Sessions of this process."""
        engine = make_engine(self.settings.need_database_url(), pool_size=POOL_SIZE)
        return make_session_factory(engine, BrokerSender(self.settings.need_broker_url()))

    @cached_property
    def stopping(self) -> Event:
        """Set when the worker was asked to stop: a job then ends at its next good place."""
        event = Event()

        def stop(**_: object) -> None:
            event.set()

        worker_shutting_down.connect(stop, weak=False)
        return event
