"""An attempt at a job: its lines carry job, run and request, and its outcome is counted with its time."""

from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from app import logs
from app.db import SessionFactory, session_scope
from app.kinds import JobKind
from app.models import Job
from tests.factories import make_run
from tests.logged import logging_to_memory
from workers import attempts, fencing, plan
from workers.fencing import LostJobError


@pytest.fixture
def claim(session_factory: SessionFactory) -> fencing.Claim:
    with session_scope(session_factory) as session, logs.about(request_id="who-asked"):
        job_id = plan.start_job(session, make_run(session).id, JobKind.SAMPLE, {"count": 4}).id
    with session_scope(session_factory) as session:
        claimed = fencing.claim(session, job_id, worker="w", stale_seconds=30)
    assert claimed is not None
    return claimed


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("prefloop_job_seconds_count", {"kind": "sample", "outcome": outcome}) or 0.0


def raising(error: Exception) -> Any:
    def do() -> None:
        raise error

    return do


@pytest.mark.parametrize(
    ("do", "outcome"),
    [
        (lambda: None, "done"),
        (raising(ValueError("no")), "failed"),
        (raising(LostJobError("overtaken")), "lost"),
    ],
)
def test_lines_and_figures_of_an_attempt(
    claim: fencing.Claim, session_factory: SessionFactory, do: Any, outcome: str
) -> None:
    before = counted(outcome)
    with logging_to_memory() as out:
        attempts.attempt(claim, session_factory, do, explained=())
    assert counted(outcome) == before + 1
    assert REGISTRY.get_sample_value("prefloop_jobs_running", {"kind": "sample"}) == 0.0
    about = {(line["job"], line["run"], line["request_id"]) for line in out.events()}
    assert about == {(str(claim.job_id), str(claim.of_run), "who-asked")}
    assert [line["event"] for line in out.events()][:: len(out.events()) - 1] == ["job_started", f"job_{outcome}"]


def test_a_job_that_nobody_asked_for_has_no_request(session_factory: SessionFactory) -> None:
    with session_scope(session_factory) as session:
        job_id: UUID = plan.start_job(session, make_run(session).id, JobKind.SAMPLE, {}).id
    with session_scope(session_factory) as session:
        assert session.get_one(Job, job_id).request_id is None


def test_what_fails_afterwards_is_logged_and_stops_nothing() -> None:
    seen: list[bool] = []

    def fails(_stopping: object) -> None:
        raise ValueError("no memory")

    with logging_to_memory() as out:
        attempts.afterwards([fails, lambda stopping: seen.append(stopping())], lambda: False)
    assert seen == [False]
    assert [line["event"] for line in out.events()] == ["afterwards_raised"]
