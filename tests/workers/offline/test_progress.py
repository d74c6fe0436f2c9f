"""The bars stand where the ledger stands, and move with every update."""

from io import StringIO

import pytest
from rich.console import Console

from app.kinds import Split, Verdict
from tests.workers.offline.small import small_hparams
from workers.offline import events
from workers.offline.ledger import Ledger
from workers.offline.progress import Bars


@pytest.fixture
def ledger() -> Ledger:
    """One label of the 40 that are wanted; none of the 96 episodes."""
    samples = tuple(events.Drawn(text=text, tokens=(1,)) for text in "abcd")
    asked = events.Compared(prompt="p", split=Split.TRAIN, policy=None, promotion=0, reward_model=None, samples=samples)
    return Ledger.of(
        [
            events.Began(hparams=small_hparams(), base_model="tiny", labeler="vader", noise=0.0),
            events.Imported(digest="d"),
            events.Sampled(comparisons=(asked, asked), given_up=0),
            events.Labeled(comparison=0, verdict=Verdict.BEST, best=2),
            events.Labeled(comparison=1, verdict=Verdict.TIE, best=None),
        ]
    )


def stands(bars: Bars) -> dict[str, tuple[float, float | None]]:
    """Of the bars that are seen: how far, of how much."""
    return {task.description: (task.completed, task.total) for task in bars.progress.tasks if task.visible}


def test_they_move_with_events_and_updates(ledger: Ledger) -> None:
    bars = Bars(Console(file=StringIO()))
    assert stands(bars) == {}
    bars.began(ledger)
    assert stands(bars) == {"labels": (1, 40), "episodes": (0, 96)}
    bars.updated(3, {"objective/score": 0.25, "objective/kl": 1.0})
    assert stands(bars) == {"labels": (1, 40), "episodes": (48, 96)}
    rewarded = events.Rewarded(digest="r", labels=(0,), report={"accuracy_heldout": {"value": 0.63}})
    ledger.apply(rewarded)
    bars.happened(ledger)
    said = {task.description: task.fields["said"] for task in bars.progress.tasks}
    assert said["episodes"] == "score 0.25, KL 1.0 nats"
    assert said["labels"] == "reward model 63% right on held-out labels"


def test_a_model_that_is_fetched_has_a_bar_until_it_is_there() -> None:
    bars = Bars(Console(file=StringIO()))
    bars.fetched("fetching gpt2", 0.5)
    assert stands(bars) == {"model": (0.5, 1)}
    bars.fetched("fetching gpt2", 1.0)
    assert stands(bars) == {}


def test_a_sentence_stands_above_them() -> None:
    heard = StringIO()
    Bars(Console(file=heard)).said("PPO goes on from the state before it.")
    assert heard.getvalue() == "PPO goes on from the state before it.\n"
