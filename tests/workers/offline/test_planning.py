"""From events to the plan of a reward model."""

import pytest

from app.kinds import Split, Verdict
from tests.workers.offline.small import small_hparams
from workers.offline import events
from workers.offline.ledger import Ledger
from workers.offline.planning import Planner
from workers.offline.prompts import PromptPool

TEXTS = ("picked", "tied", "none good")
PICKED, EVEN = (0.0, 1.0), (0.5, 0.5)


def ledger(**uses: str) -> Ledger:
    """Three labels of two samples each: one picked, a tie, none good."""
    hparams = small_hparams()
    hparams = hparams.model_copy(update={"reward": hparams.reward.model_copy(update=uses)})
    compared = tuple(
        events.Compared(
            prompt=text,
            split=Split.TRAIN,
            policy=None,
            promotion=0,
            reward_model=None,
            samples=(events.Drawn(text="a", tokens=(1,)), events.Drawn(text="b", tokens=(2,))),
        )
        for text in TEXTS
    )
    return Ledger.of(
        [
            events.Began(hparams=hparams, base_model="tiny", labeler="vader", noise=0.0),
            events.Imported(digest="d"),
            events.Sampled(comparisons=compared, given_up=0),
            events.Labeled(comparison=0, verdict=Verdict.BEST, best=1),
            events.Labeled(comparison=1, verdict=Verdict.TIE, best=None),
            events.Labeled(comparison=2, verdict=Verdict.NONE, best=None),
        ]
    )


@pytest.mark.parametrize(
    ("uses", "targets"),
    [
        ({}, {0: PICKED}),
        ({"tie_labels": "even"}, {0: PICKED, 1: EVEN}),
        ({"tie_labels": "even", "none_labels": "even"}, {0: PICKED, 1: EVEN, 2: EVEN}),
    ],
)
def test_labels_train_as_the_hparams_say(uses: dict[str, str], targets: dict[int, tuple[float, ...]]) -> None:
    told = ledger(**uses)
    planner = Planner(ledger=told, prompts=PromptPool(by_split=dict.fromkeys(Split, TEXTS)))
    plan, numbers = planner.training()
    assert {number: one.target for number, one in zip(numbers, plan.train, strict=True)} == targets


def test_ppo_and_normalisation_use_prompts_of_the_train_split_alone() -> None:
    told = ledger()
    told.apply(events.Rewarded(digest="r", labels=(0,), report={}))
    planner = Planner(
        ledger=told, prompts=PromptPool(by_split={split: (f"{split} 0", f"{split} 1") for split in Split})
    )
    assert planner.ppo(3).queries == ("train 0", "train 1")
    assert planner.training()[0].normalization_prompts == ("train 0", "train 1")
    assert [one.text for one in planner.showcase(None).prompts] == ["test 0", "test 1"]
