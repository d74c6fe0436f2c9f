"""Figures for Prometheus: requests as they pass, and the state of the plant read at each scrape."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.db import SessionFactory, session_scope
from app.models import Comparison, ComparisonState, Job, Label, Run

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0)


class Meters:
    """One application's registry."""

    def __init__(self, factory: SessionFactory) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "prefloop_http_request_seconds",
            "Seconds from a request to the end of its answer.",
            ("method", "route", "status"),
            registry=self.registry,
            buckets=BUCKETS,
        )
        self.registry.register(_Plant(factory))


class RequestMeter:
    """Pure ASGI: counts and times every request but streams that stay open."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self.app = app
        self.requests = meters.requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        seen: Message = {"status": 500, "headers": []}

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.update(message)
            await send(message)

        await self.app(scope, receive, watch)
        if not any(value.startswith(b"text/event-stream") for _, value in seen["headers"]):
            route = getattr(scope.get("route"), "path", "other")
            self.requests.labels(scope["method"], route, seen["status"]).observe(time.perf_counter() - started)


class _Plant(Collector):
    """Reads the tables when Prometheus asks."""

    def __init__(self, factory: SessionFactory) -> None:
        self.factory = factory

    def describe(self) -> list[Metric]:
        """Nothing beforehand: registering must not need the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """A handful of counts."""
        labels = GaugeMetricFamily("prefloop_labels", "Label rows, revisions included.")
        usable = GaugeMetricFamily("prefloop_labels_usable", "Labels that train.", labels=["run"])
        episodes = GaugeMetricFamily("prefloop_episodes", "PPO episodes done.", labels=["run"])
        ready = GaugeMetricFamily("prefloop_comparisons_ready", "Unanswered comparisons.", labels=["run"])
        jobs = GaugeMetricFamily("prefloop_jobs", "Jobs by kind and state.", labels=["kind", "state"])
        with session_scope(self.factory) as session:
            labels.add_metric([], session.scalar(select(func.count(Label.id))) or 0)
            for run in session.scalars(select(Run)):
                usable.add_metric([str(run.id)], run.labels_usable)
                episodes.add_metric([str(run.id)], run.episodes)
            waiting = select(Comparison.run_id, func.count()).where(Comparison.state == ComparisonState.READY)
            for run_id, count in session.execute(waiting.group_by(Comparison.run_id)):
                ready.add_metric([str(run_id)], count)
            for kind, state, count in session.execute(
                select(Job.kind, Job.state, func.count()).group_by(Job.kind, Job.state)
            ):
                jobs.add_metric([kind, state], count)
        yield from (labels, usable, episodes, ready, jobs)
