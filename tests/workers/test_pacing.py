"""How often a run is looked at, and what comes by the clock."""

from workers.pacing import Interval, Pace


def test_a_look_of_two_seconds_is_followed_by_thirty_eight_of_rest() -> None:
    now = 100.0
    pace = Pace(clock=lambda: now)
    assert pace.is_due("a")
    with pace.look("a"):
        now += 2.0
    assert not pace.is_due("a")
    assert pace.is_due("b")
    now += 37.9
    assert not pace.is_due("a")
    now += 0.2
    assert pace.is_due("a")


def test_an_interval_is_due_at_first_and_once_in_its_time() -> None:
    now = 100.0
    interval = Interval(60.0, clock=lambda: now)
    assert interval.is_due()
    assert not interval.is_due()
    now += 59.9
    assert not interval.is_due()
    now += 0.2
    assert interval.is_due()
    assert not interval.is_due()


def test_of_messages_that_piled_up_the_first_is_due() -> None:
    interval = Interval(0.5, clock=lambda: 100.0)
    assert [interval.is_due() for _ in range(3000)] == [True] + [False] * 2999
