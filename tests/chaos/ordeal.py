"""One ordeal from start to end: as many events as asked for, each some progress after the one before."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.chaos import events as all_events
from tests.chaos.counts import Counts, count
from tests.chaos.world import World, labeled, world
from tests.processes import wait_until

LONGEST_PAUSE_SECONDS = 20.0
FINISH_SECONDS = 900.0

Say = Callable[[str], None]


def endure(home: Path, *, seed: int, events: int, say: Say = print) -> Counts:
    """Run it. Raises: AssertionError if the run does not finish."""
    rng, begun = Random(seed), time.monotonic()
    happened = Counter[str]()
    with world(home, events) as made:
        made.prefloop.ready()
        with labeled(made, seed) as done:
            wait_until("the first labels", lambda: made.progress() >= 5, seconds=300)
            for happen in all_events.planned(events, rng):
                _let_it_go_on(made, rng)
                what = happen(made, rng)
                happened[happen.__name__] += 1
                say(f"{time.monotonic() - begun:6.1f} s  {made.progress():4} done  {happen.__name__}: {what}")
            wait_until("the end of the run", made.finished, seconds=FINISH_SECONDS)
        wait_until("the last jobs", made.quiet, seconds=120)
        return count(made, done[0], seed=seed, events=happened, seconds=time.monotonic() - begun)


def _let_it_go_on(made: World, rng: Random) -> None:
    """Until some labels and updates have come, or it takes too long for that: the next event comes all the same."""
    goal, until = made.progress() + rng.randint(1, 5), time.monotonic() + LONGEST_PAUSE_SECONDS
    while made.progress() < goal and time.monotonic() < until:
        made.finished()
        time.sleep(0.2)
