"""What comes by itself comes whatever is done to the clock of the machine."""

from datetime import timedelta

from celery.beat import ScheduleEntry

from app.jobs import ASSESS, TICK
from app.settings import Settings
from workers.celery_app import PERIODS, make_celery


def test_the_tick_is_due_by_a_clock_that_nobody_sets() -> None:
    celery = make_celery(Settings())
    schedule = celery.conf.beat_schedule[TICK]["schedule"]
    entry = ScheduleEntry(TICK, app=celery, schedule=schedule)
    now = schedule.now()
    assert not schedule.is_due(now).is_due
    assert schedule.is_due(now - timedelta(seconds=PERIODS[TICK])).is_due
    assert abs((entry.last_run_at - now).total_seconds()) < 60, "beat remembers by the same clock"


def test_no_message_expires_by_the_clock_of_another_machine() -> None:
    entries = make_celery(Settings()).conf.beat_schedule
    assert entries.keys() == {TICK, ASSESS}
    assert all("expires" not in entry.get("options", {}) for entry in entries.values())
