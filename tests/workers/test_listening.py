"""A worker is deaf when it idles, the broker answers, and a job of its queues waits."""

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db import SessionFactory, session_scope
from app.jobs import Queue
from app.kinds import JobKind
from tests.factories import make_run
from workers import listening, plan
from workers.listening import Activity, is_deaf


class Idle(Activity):
    """A worker that had its last job a while ago."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._since -= seconds


def make_job(session: Session, *, age: float, sent: float, state: str = "queued") -> None:
    """A sampling job of that age, sent last so many seconds ago."""
    job = plan.start_job(session, make_run(session).id, JobKind.SAMPLE, {"count": 4})
    session.execute(
        text(
            "update job set state = :state, created_at = now() - :age * interval '1 second', "
            "sent_at = now() - :sent * interval '1 second' where id = :id"
        ),
        {"id": job.id, "age": age, "sent": sent, "state": state},
    )


@pytest.mark.parametrize(
    ("idle", "age", "sent", "state", "queue", "answers", "expected"),
    [
        (100, 100, 5, "queued", Queue.SAMPLING, True, True),
        (20, 100, 5, "queued", Queue.SAMPLING, True, False),  # it worked a moment ago
        (100, 30, 5, "queued", Queue.SAMPLING, True, False),  # the job is young
        (100, 100, 99, "queued", Queue.SAMPLING, True, False),  # nobody has sent it again: no watchdog is there
        (100, 100, 5, "running", Queue.SAMPLING, True, False),
        (100, 100, 5, "queued", Queue.POLICY, True, False),  # not for this worker
        (100, 100, 5, "queued", Queue.SAMPLING, False, False),  # the broker is away: starting anew would not help
    ],
)
def test_deaf_is_who_idles_while_a_job_waits(
    session_factory: SessionFactory,
    idle: float,
    age: float,
    sent: float,
    state: str,
    queue: Queue,
    answers: bool,
    expected: bool,
) -> None:
    with session_scope(session_factory) as session:
        make_job(session, age=age, sent=sent, state=state)
    assert is_deaf(session_factory, lambda: answers, Idle(idle), {queue}) is expected


def test_nobody_is_idle_at_work() -> None:
    activity = Idle(1000)
    assert activity.idle_seconds() > listening.PATIENCE_SECONDS
    with activity:
        assert activity.idle_seconds() == 0
    assert 0 <= activity.idle_seconds() < 10
