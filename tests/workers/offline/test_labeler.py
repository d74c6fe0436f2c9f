"""The mock labeler answers by its rule, but for a known share of answers that are drawn evenly."""

from collections import Counter
from collections.abc import Sequence

import pytest

from app.kinds import Split, Verdict
from app.rules import TIE
from workers.offline.events import Compared, Drawn
from workers.offline.labeler import MockLabeler

ASKED = Compared(
    prompt="p",
    split=Split.TRAIN,
    policy=None,
    promotion=0,
    reward_model=None,
    samples=tuple(Drawn(text=text, tokens=(1,)) for text in "abcd"),
)
MANY = 4_000


def third(prompt: str, texts: Sequence[str]) -> int:
    assert (prompt, list(texts)) == ("p", list("abcd"))
    return 2


def undecided(prompt: str, texts: Sequence[str]) -> str:
    assert (prompt, len(texts)) == ("p", 4)
    return TIE


def picks(noise: float, seed: int = 1) -> list[int | None]:
    labeler = MockLabeler(rule=third, noise=noise, seed=seed)
    return [labeler.answer(number, ASKED).best for number in range(MANY)]


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5, 1.0])
def test_noise_is_the_share_of_answers_at_random(noise: float) -> None:
    """A random one is right in a quarter of cases; five standard errors are at most 0.04."""
    found = Counter(picks(noise))
    assert found[2] / MANY == pytest.approx(1 - 0.75 * noise, abs=0.04 if noise else 0)
    for other in (0, 1, 3):
        assert found[other] / MANY == pytest.approx(0.25 * noise, abs=0.04 if noise else 0)


def test_it_says_the_same_each_time_and_something_else_with_another_seed() -> None:
    assert picks(0.5) == picks(0.5)
    assert picks(0.5) != picks(0.5, seed=2)


def test_equal_bests_are_a_tie_but_for_noise() -> None:
    sure, unsure = (MockLabeler(rule=undecided, noise=noise, seed=1) for noise in (0.0, 1.0))
    assert (sure.answer(7, ASKED).verdict, sure.answer(7, ASKED).best) == (Verdict.TIE, None)
    assert unsure.answer(7, ASKED).verdict is Verdict.BEST
    assert unsure.answer(7, ASKED).comparison == 7
