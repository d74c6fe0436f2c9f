"""A worker's row: there while it lives, old when it was killed, gone when it was stopped."""

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app import reports
from app.db import SessionFactory
from app.jobs import Queue
from app.kinds import JobKind
from app.models import Worker
from tests.factories import make_run
from tests.processes import wait_until
from workers import fencing, plan
from workers.gpu import GpuMemory
from workers.presence import Presence

TRAINS = (Queue.SAMPLING, Queue.REWARD, Queue.POLICY)


def test_it_says_what_it_serves_and_takes(session_factory: SessionFactory, session: Session) -> None:
    gpu = GpuMemory(name="a GPU", used=5 * 2**30, reserved=2**30, total=80 * 2**30)
    Presence(factory=session_factory, name="host:trainer", queues=TRAINS, seconds=5, gpu=lambda: gpu).say()
    (found,) = reports.workers(session)
    assert found.lives
    assert (found.name, set(found.queues), found.job_id) == ("host:trainer", set(TRAINS), None)
    assert found.memory_bytes > 10 * 2**20
    assert (found.gpu, found.gpu_used_bytes, found.gpu_total_bytes) == ("a GPU", 5 * 2**30, 80 * 2**30)
    assert reports.unserved([found]) == [Queue.CONTROL]


def test_the_job_it_works_on_is_told(session_factory: SessionFactory, session: Session) -> None:
    Presence(factory=session_factory, name="host:trainer", queues=TRAINS, seconds=5).say()
    job = plan.start_job(session, make_run(session).id, JobKind.SAMPLE, {"count": 4})
    fencing.claim(session, job.id, worker="host:trainer", stale_seconds=30)
    assert reports.workers(session)[0].job_id == job.id


def test_a_killed_worker_is_missed_and_forgotten_after_a_day(session_factory: SessionFactory, session: Session) -> None:
    Presence(factory=session_factory, name="killed", queues=TRAINS, seconds=5).say()
    session.execute(text("update worker set seen_at = now() - interval '31 seconds'"))
    session.commit()
    found = reports.workers(session)
    assert not found[0].lives
    assert reports.unserved(found) == list(Queue)
    session.execute(text("update worker set seen_at = now() - interval '25 hours'"))
    session.commit()
    Presence(factory=session_factory, name="another", queues=TRAINS, seconds=5).say()
    session.rollback()
    assert [one.name for one in reports.workers(session)] == ["another"]


def test_the_thread_goes_on_saying_it_until_it_is_stopped(session_factory: SessionFactory) -> None:
    presence = Presence(factory=session_factory, name="host:control", queues=[Queue.CONTROL], seconds=0.02)

    def times() -> set[object]:
        with session_factory() as looking:
            return set(looking.scalars(select(Worker.seen_at)))

    presence.start()
    wait_until("the first word", lambda: bool(times()))
    first = times()
    wait_until("another word", lambda: times() != first)
    presence.stop()
    wait_until("its end", lambda: not times())
