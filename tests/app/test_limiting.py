"""Limits: exact under load, shared by processes, forgotten in time."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from app.errors import TooManyError
from app.limiting import TRIES_PER_NAME, TRIES_PER_PERSON, Limiter, PostgresStorage


@pytest.fixture
def limiter(engine: Engine) -> Limiter:
    return Limiter(engine, labels_per_minute=3)


def tries(limiter: Limiter, address: str, name: str, count: int) -> int:
    """How many of `count` tries are let through."""
    passed = 0
    for _ in range(count):
        try:
            limiter.sign_in(address, name)
        except TooManyError:
            continue
        passed += 1
    return passed


def test_a_guesser_gets_ten_tries_and_others_are_not_hindered(limiter: Limiter, engine: Engine) -> None:
    assert tries(limiter, "10.0.0.1", "ada", 15) == TRIES_PER_PERSON.amount == 10
    assert tries(limiter, "10.0.0.2", "ada", 1) == 1
    assert tries(limiter, "10.0.0.1", "grace", 1) == 1
    other_process = Limiter(engine, labels_per_minute=3)
    assert tries(other_process, "10.0.0.1", "ada", 1) == 0


def test_many_addresses_share_the_tries_for_one_name(limiter: Limiter) -> None:
    passed = sum(tries(limiter, f"10.0.1.{n}", "ada", 10) for n in range(15))
    assert passed == TRIES_PER_NAME.amount == 100


def test_tries_at_the_same_moment_all_count(engine: Engine) -> None:
    limiter = Limiter(engine, labels_per_minute=3)
    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(lambda _: tries(limiter, "10.0.0.1", "ada", 5), range(8))) == 10


def test_the_right_password_forgets_the_wrong_ones(limiter: Limiter) -> None:
    assert tries(limiter, "10.0.0.1", "ada", 9) == 9
    limiter.signed_in("10.0.0.1", "ada")
    assert tries(limiter, "10.0.0.1", "ada", 10) == 10


def test_a_window_ends_and_says_when(limiter: Limiter, engine: Engine) -> None:
    tries(limiter, "10.0.0.1", "ada", 11)
    with pytest.raises(TooManyError, match="minutes") as refused:
        limiter.sign_in("10.0.0.1", "ada")
    assert 890 <= refused.value.retry_seconds <= 900
    with engine.begin() as connection:
        connection.execute(text("update rate_limit set expires_at = now() - interval '1 second'"))
    assert tries(limiter, "10.0.0.1", "ada", 15) == 10


def test_counters_of_the_past_are_removed_and_hold_no_name(limiter: Limiter, engine: Engine) -> None:
    tries(limiter, "10.0.0.1", "my-secret-typed-into-the-wrong-field", 1)
    with engine.begin() as connection:
        assert not [key for key in connection.scalars(text("select key from rate_limit")) if "secret" in key]
        connection.execute(text("update rate_limit set expires_at = now() - interval '1 second'"))
    tries(limiter, "10.0.0.9", "grace", 1)
    with engine.begin() as connection:
        assert connection.scalar(text("select count(*) from rate_limit where expires_at < now()")) == 0


def test_labels_are_limited_per_person(limiter: Limiter) -> None:
    ada, eve = uuid4(), uuid4()
    for _ in range(3):
        limiter.label(ada)
    with pytest.raises(TooManyError, match="seconds"):
        limiter.label(ada)
    limiter.label(eve)


def test_the_storage_does_what_the_library_asks(engine: Engine) -> None:
    storage = PostgresStorage(engine)
    assert storage.check()
    assert [storage.incr("a", 60), storage.incr("a", 60, 2), storage.incr("b", 60)] == [1, 3, 1]
    assert (storage.get("a"), storage.get("c")) == (3, 0)
    storage.clear("a")
    assert storage.get("a") == 0
    assert storage.reset() == 1
