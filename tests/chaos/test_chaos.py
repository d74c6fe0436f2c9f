"""Every kind of event once, in an order drawn by a seed; `make chaos` goes on for longer."""

from pathlib import Path

import pytest

from tests.chaos.events import EVENTS
from tests.chaos.ordeal import endure


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_nothing_is_lost_or_doubled_and_the_run_finishes(servers_dir: Path, seed: int) -> None:
    counts = endure(servers_dir / f"chaos-{seed}", seed=seed, events=len(EVENTS))
    print(counts.as_json())
    assert counts.wrong == ()
    assert set(counts.events) == {event.__name__ for event in EVENTS}
    assert counts.labels_usable >= 40
