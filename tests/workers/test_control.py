"""What the tick does beside looking at runs: it tidies up, at first and once an hour."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app import uploads
from tests.leftover_files import uploaded
from workers.control import TIDY_SECONDS, tick
from workers.pacing import Interval

DAYS = 30


@pytest.fixture
def clock(database_url: str, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Seconds by which the tick of this process goes, on a home and a database of its own."""
    known = {"HOME": tmp_path, "DATABASE_URL": database_url, "BROKER_URL": broker_url, "FILE_DAYS": DAYS}
    for name, value in known.items():
        monkeypatch.setenv(f"PREFLOOP_{name}", str(value))
    now = [0.0]
    before = dict(vars(tick))
    tick.interval = Interval(0.5, clock=lambda: now[0])
    tick.tidying = Interval(TIDY_SECONDS, clock=lambda: now[0])
    yield now
    tick.factory.kw["bind"].dispose()
    vars(tick).clear()
    vars(tick).update(before)


def left(home: Path) -> set[str]:
    """Names of the uploads that are still there."""
    return {path.name for path in uploads.folder(home).glob("*/*")}


def test_old_files_go_at_the_first_tick_and_once_an_hour(clock: list[float], tmp_path: Path) -> None:
    uploaded(tmp_path, "young", days_ago=DAYS - 1)
    for second, gone in ((0.0, True), (1.0, False), (3599.0, False), (3600.0, True), (3601.0, False), (7200.0, True)):
        name = f"old at {second:.0f}"
        uploaded(tmp_path, name, days_ago=DAYS + 1)
        clock[0] = second
        tick()
        assert (name not in left(tmp_path)) == gone, second
        assert "young" in left(tmp_path)
