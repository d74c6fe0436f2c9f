"""How often a run is looked at."""

from workers.pacing import Pace


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
