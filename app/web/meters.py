"""Figures for Prometheus: requests as they pass, and the state of the plant, read from the tables at each scrape.

With several web processes on one machine each adds up its own requests in a file of `settings.metrics_dir`; whichever
of them is asked tells the sum. The state of the plant is the same whoever reads it.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from app import reports
from app.db import SessionFactory, session_scope
from app.jobs import Queue
from app.models import Phase

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0)


class Meters:
    """One application's figures.

    Args:
        home: where checkpoints are kept.
        shared: folder where several processes add up; None: this process is the only one.
    """

    def __init__(self, factory: SessionFactory, home: Path, shared: Path | None = None) -> None:
        own = CollectorRegistry()
        self.requests = Histogram(
            "prefloop_http_request_seconds",
            "Seconds from a request to the end of its answer.",
            ("method", "route", "status"),
            registry=own,
            buckets=BUCKETS,
        )
        self.streams = Gauge(
            "prefloop_event_streams", "Open streams of events.", registry=own, multiprocess_mode="livesum"
        )
        self._plant = _Plant(factory, home)
        self._own, self._shared = own, shared

    def exposition(self) -> bytes:
        """All figures in Prometheus' text format."""
        requests = self._own
        if self._shared is not None:
            requests = CollectorRegistry()
            _forget_ended(self._shared)
            MultiProcessCollector(requests, str(self._shared))  # type: ignore[no-untyped-call]
        plant = CollectorRegistry()
        plant.register(self._plant)
        return bytes(generate_latest(requests)) + bytes(generate_latest(plant))


def _forget_ended(shared: Path) -> None:
    """What processes that ended have counted stays; what they had open is open no more."""
    for file in shared.glob("gauge_live*_*.db"):
        number = file.stem.rpartition("_")[2]
        if number.isdigit() and not psutil.pid_exists(int(number)):
            file.unlink(missing_ok=True)


class _Plant(Collector):
    """Reads the tables when Prometheus asks."""

    def __init__(self, factory: SessionFactory, home: Path) -> None:
        self.factory = factory
        self.home = home

    def describe(self) -> list[Metric]:
        """Nothing beforehand: registering must not need the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The plant; without a database only that it is away."""
        if self.home.exists():
            free = shutil.disk_usage(self.home).free
            yield GaugeMetricFamily("prefloop_disk_free_bytes", "Where checkpoints are kept.", value=free)
        try:
            with session_scope(self.factory) as session:
                found = reports.plant(session)
        except SQLAlchemyError:
            yield GaugeMetricFamily("prefloop_database_up", "Whether the database answers.", value=0)
            return
        yield GaugeMetricFamily("prefloop_database_up", "Whether the database answers.", value=1)
        yield GaugeMetricFamily("prefloop_labels", "Answers that stand.", value=found.labels)
        yield from _of_runs(found.runs)
        yield from _of_jobs(found)
        yield from _of_workers(found.workers)


def _of_runs(runs: tuple[reports.RunFigures, ...]) -> Iterator[Metric]:
    usable = GaugeMetricFamily("prefloop_labels_usable", "Labels that train.", labels=["run"])
    episodes = GaugeMetricFamily("prefloop_episodes", "PPO episodes done.", labels=["run"])
    ready = GaugeMetricFamily("prefloop_comparisons_ready", "Unanswered comparisons.", labels=["run"])
    age = GaugeMetricFamily(
        "prefloop_sample_age_seconds", "Age of the oldest samples that wait for an answer.", labels=["run"]
    )
    cord = GaugeMetricFamily("prefloop_cord_pulled", "1 while the andon cord is pulled.", labels=["run"])
    running = GaugeMetricFamily("prefloop_run_running", "1 while neither paused nor complete.", labels=["run"])
    for run in runs:
        of_run = ((usable, run.usable), (episodes, run.episodes), (ready, run.ready), (age, run.oldest_seconds))
        for family, value in (*of_run, (cord, run.cord_pulled), (running, run.phase == Phase.RUNNING)):
            family.add_metric([str(run.id)], float(value))
    yield from (usable, episodes, ready, age, cord, running)


def _of_jobs(found: reports.Plant) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("prefloop_jobs", "Jobs by kind and state.", labels=["kind", "state"])
    failures = GaugeMetricFamily("prefloop_job_failures", "Attempts that raised.", labels=["kind", "state"])
    for one in found.jobs:
        jobs.add_metric([one.kind, one.state], one.jobs)
        failures.add_metric([one.kind, one.state], one.failures)
    waiting = GaugeMetricFamily("prefloop_queue_jobs", "Jobs that wait.", labels=["queue"])
    age = GaugeMetricFamily("prefloop_queue_oldest_seconds", "Since the oldest of them was made.", labels=["queue"])
    for queue in found.queues:
        waiting.add_metric([queue.queue], queue.waiting)
        age.add_metric([queue.queue], queue.oldest_seconds)
    yield from (jobs, failures, waiting, age)


def _of_workers(workers: tuple[reports.WorkerFigures, ...]) -> Iterator[Metric]:
    silent = GaugeMetricFamily("prefloop_worker_silent_seconds", "Since it said that it lives.", labels=["worker"])
    memory = GaugeMetricFamily("prefloop_worker_memory_bytes", "Resident memory.", labels=["worker"])
    busy = GaugeMetricFamily("prefloop_worker_busy", "1 while it works on a job.", labels=["worker"])
    gpu = GaugeMetricFamily("prefloop_worker_gpu_bytes", "Memory of its GPU.", labels=["worker", "gpu", "which"])
    serving = GaugeMetricFamily("prefloop_queue_workers", "Workers that live and serve it.", labels=["queue"])
    for one in workers:
        silent.add_metric([one.name], one.silent_seconds)
        memory.add_metric([one.name], one.memory_bytes)
        busy.add_metric([one.name], float(one.job_id is not None))
        if one.gpu is not None:
            gpu.add_metric([one.name, one.gpu, "used"], one.gpu_used_bytes or 0)
            gpu.add_metric([one.name, one.gpu, "total"], one.gpu_total_bytes or 0)
    for queue in Queue:
        serving.add_metric([queue], sum(one.lives and queue in one.queues for one in workers))
    yield from (silent, memory, busy, gpu, serving)
