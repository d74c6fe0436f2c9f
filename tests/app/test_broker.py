"""Messages after the commit: sent by name to a real broker, and no matter while it is dead."""

import time
from uuid import UUID, uuid4

import pytest
from celery import Celery

from app import jobs
from app.broker import BrokerSender
from app.db import make_engine, make_session_factory, session_scope
from app.jobs import ADVANCE_RUN, WORK, Queue
from app.kinds import JobKind
from tests.factories import make_account

DEAD = "redis://127.0.0.1:1/0"
RUN = UUID(int=7)


def waiting(broker_url: str, queue: Queue) -> int:
    """Messages in a queue."""
    with Celery(broker=broker_url).connection_for_read() as connection:
        found: int = connection.default_channel.client.llen(queue)
        return found


def test_messages_reach_their_queues(broker_url: str) -> None:
    BrokerSender(broker_url)([(WORK, Queue.POLICY, str(uuid4())), (ADVANCE_RUN, Queue.CONTROL, str(RUN))])
    assert (waiting(broker_url, Queue.POLICY), waiting(broker_url, Queue.CONTROL)) == (1, 1)


def test_a_run_is_woken_at_most_once_a_second(broker_url: str) -> None:
    sender = BrokerSender(broker_url)
    for _ in range(5):
        sender([(ADVANCE_RUN, Queue.CONTROL, str(RUN))])
    assert waiting(broker_url, Queue.CONTROL) == 1


def test_a_dead_broker_is_an_error_once_and_then_left_alone() -> None:
    sender = BrokerSender(DEAD)
    with pytest.raises(Exception, match="refused"):
        sender([(WORK, Queue.SAMPLING, str(uuid4()))])
    began = time.monotonic()
    sender([(WORK, Queue.SAMPLING, str(uuid4()))])
    assert time.monotonic() - began < 0.1


def test_what_was_written_stays_although_the_broker_is_dead(database_url: str) -> None:
    engine = make_engine(database_url, pool_size=1)
    factory = make_session_factory(engine, BrokerSender(DEAD))
    with session_scope(factory) as session:
        account = make_account(session, "Ada")
        jobs.wake_run(session, RUN)
    with session_scope(factory) as session:
        assert session.get_one(type(account), account.id).name == "Ada"
    engine.dispose()


def test_nothing_is_sent_for_a_transaction_that_failed(database_url: str) -> None:
    engine, sent = make_engine(database_url, pool_size=1), list[jobs.Message]()
    factory = make_session_factory(engine, sent.extend)

    def fail() -> None:
        with session_scope(factory) as session:
            jobs.send_job(session, uuid4(), JobKind.SAMPLE)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with session_scope(factory) as session:
        jobs.send_job(session, RUN, JobKind.SAMPLE)
    assert sent == [(WORK, Queue.SAMPLING, str(RUN))]
    engine.dispose()
