"""Job rows under doubled, lost and late messages: one winner, and losers write nothing."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app import jobs
from app.db import SessionFactory, session_scope
from app.kinds import JobKind
from app.models import Job, JobState
from tests.factories import make_run
from workers import fencing, plan

STALE = 30.0


@pytest.fixture
def job_id(session_factory: SessionFactory) -> UUID:
    """A queued sampling job."""
    with session_scope(session_factory) as session:
        return plan.start_job(session, make_run(session).id, JobKind.SAMPLE, {"count": 4}).id


def fall_silent(session: Session, job_id: UUID) -> None:
    """Make the job's last heartbeat an hour old."""
    session.execute(text("update job set heartbeat_at = now() - interval '1 hour' where id = :id"), {"id": job_id})


def test_of_many_claims_at_once_one_wins(session_factory: SessionFactory, job_id: UUID) -> None:
    def attempt(number: int) -> fencing.Claim | None:
        with session_scope(session_factory) as session:
            return fencing.claim(session, job_id, worker=str(number), stale_seconds=STALE)

    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(attempt, range(8)))
    assert len([claim for claim in claims if claim is not None]) == 1


@pytest.mark.parametrize("column", ["heartbeat_at", "sent_at"])
def test_a_clock_that_is_put_back_holds_no_job_up(session: Session, job_id: UUID, column: str) -> None:
    """A dead worker's heartbeat and a lost message then lie hours in the future."""
    if column == "heartbeat_at":
        assert fencing.claim(session, job_id, worker="dead", stale_seconds=STALE) is not None
    assert fencing.revive(session, stale_seconds=STALE, resend_seconds=STALE) == 0
    session.execute(text(f"update job set {column} = now() + interval '2 hours' where id = :id"), {"id": job_id})
    assert fencing.revive(session, stale_seconds=STALE, resend_seconds=STALE) == 1
    assert fencing.claim(session, job_id, worker="next", stale_seconds=STALE) is not None


def test_a_silent_worker_loses_its_job_and_its_late_result(session: Session, job_id: UUID) -> None:
    first = fencing.claim(session, job_id, worker="first", stale_seconds=STALE)
    assert first is not None
    assert fencing.claim(session, job_id, worker="second", stale_seconds=STALE) is None
    fall_silent(session, job_id)
    second = fencing.claim(session, job_id, worker="second", stale_seconds=STALE)
    assert second is not None
    assert second.attempt == first.attempt + 1
    assert not fencing.beat(session, first)
    with pytest.raises(fencing.LostJobError):
        fencing.finish(session, first, {"by": "first"})
    fencing.finish(session, second, {"by": "second"})
    row = session.get_one(Job, job_id, populate_existing=True)
    assert (row.state, row.result) == (JobState.DONE, {"by": "second"})


def test_a_doubled_message_finds_a_done_job(session: Session, job_id: UUID) -> None:
    mine = fencing.claim(session, job_id, worker="w", stale_seconds=STALE)
    assert mine is not None
    fencing.finish(session, mine, {})
    assert fencing.claim(session, job_id, worker="w", stale_seconds=STALE) is None


def test_the_watchdog_sends_what_nobody_claimed_and_what_fell_silent(session: Session, job_id: UUID) -> None:
    jobs.take_messages(session)
    assert fencing.revive(session, stale_seconds=STALE, resend_seconds=STALE) == 0
    assert fencing.revive(session, stale_seconds=STALE, resend_seconds=0.0) == 1
    assert jobs.take_messages(session) == [(jobs.WORK, jobs.Queue.SAMPLING, str(job_id))]
    mine = fencing.claim(session, job_id, worker="w", stale_seconds=STALE)
    assert mine is not None
    assert fencing.revive(session, stale_seconds=STALE, resend_seconds=0.0) == 0
    fall_silent(session, job_id)
    assert fencing.revive(session, stale_seconds=STALE, resend_seconds=STALE) == 1
    assert session.scalar(select(Job.state)) == JobState.QUEUED


def test_a_job_that_raises_is_tried_again_but_not_for_ever(session: Session, job_id: UUID) -> None:
    for failures in range(1, fencing.MAX_FAILURES + 1):
        mine = fencing.claim(session, job_id, worker="w", stale_seconds=STALE)
        assert mine is not None
        fencing.fail(session, mine, "no disk")
        row = session.get_one(Job, job_id, populate_existing=True)
        assert (row.failures, row.error) == (failures, "no disk")
    assert row.state == JobState.FAILED
    assert fencing.claim(session, job_id, worker="w", stale_seconds=STALE) is None


def test_what_went_wrong_can_be_read_until_the_job_is_done(session: Session, job_id: UUID) -> None:
    first = fencing.claim(session, job_id, worker="w", stale_seconds=STALE)
    assert first is not None
    fencing.fail(session, first, "no disk")
    second = fencing.claim(session, job_id, worker="w", stale_seconds=STALE)
    assert second is not None
    assert session.scalar(select(Job.error)) == "no disk"
    fencing.finish(session, second, {})
    assert session.scalar(select(Job.error)) is None


def test_workers_that_die_are_no_failures_until_there_are_many(session: Session, job_id: UUID) -> None:
    for _ in range(fencing.MAX_ATTEMPTS):
        assert fencing.claim(session, job_id, worker="w", stale_seconds=STALE) is not None
        fall_silent(session, job_id)
    assert session.scalar(select(Job.failures)) == 0
    assert fencing.revive(session, stale_seconds=STALE, resend_seconds=STALE) == 0
    row = session.get_one(Job, job_id, populate_existing=True)
    assert row.state == JobState.FAILED
    assert "out of memory" in (row.error or "")


def test_a_job_given_back_is_sent_at_once(session: Session, job_id: UUID) -> None:
    mine = fencing.claim(session, job_id, worker="w", stale_seconds=STALE)
    assert mine is not None
    fencing.give_back(session, mine)
    assert fencing.revive(session, stale_seconds=STALE, resend_seconds=STALE) == 1


def test_the_database_refuses_a_second_job_of_a_kind_in_flight(session_factory: SessionFactory, job_id: UUID) -> None:
    with session_factory() as session:
        run_id = session.get_one(Job, job_id).run_id
        assert run_id is not None
        with pytest.raises(Exception, match="uq_job_in_flight"), session.begin_nested():
            plan.start_job(session, run_id, JobKind.SAMPLE, {"count": 4})
        assert session.scalar(select(func.count()).select_from(Job)) == 1
