"""Texts are changed as they should be, and a score that knows the order is found to know it."""

import random
from uuid import uuid4

import pytest

from app.hparams import preset
from workers import probes
from workers.plans import Edited, PolicyFiles, ProbePlan, RewardFiles, StoredSample


class Letters:
    """A tokenizer of characters."""

    def decode(self, token_ids: list[int], **_: bool) -> str:
        return "".join(map(chr, token_ids))


def encode(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def plan(*texts: str, edited: tuple[Edited, ...] = ()) -> ProbePlan:
    files = PolicyFiles(checkpoint_id=uuid4(), base_model="b", reference_digest="d", digest=None)
    samples = [StoredSample(id=uuid4(), prompt="Once upon", token_ids=tuple(encode(text))) for text in texts]
    return ProbePlan(
        reference=files,
        reward=RewardFiles(checkpoint_id=uuid4(), digest="r"),
        task=preset("sentiment-small").task,
        samples=tuple(samples),
        edited=edited,
        seed=0,
    )


def test_sentences_and_words_change_places_and_none_is_lost() -> None:
    text, rng = " He came. She left! Why?", random.Random(0)
    for _ in range(20):
        changed = probes.shuffle_sentences(text, rng)
        assert changed is not None
        assert changed != text
        assert changed.startswith(" ")
        parts = ["He came.", "She left!", "Why?"]
        assert sum(changed.count(part) for part in parts) == 3
        words = probes.shuffle_words(" the sun was out .", rng)
        assert words is not None
        assert words != " the sun was out."
        assert (sorted(words[1:-1].split()), words[-1]) == (sorted(["the", "sun", "was", "out"]), ".")
    assert probes.shuffle_sentences("One alone.", rng) is None
    assert probes.shuffle_words(" only three words.", rng) is None
    assert probes.shuffle_words(" no no no no", rng) is None


def test_the_prompt_is_copied_to_the_length_of_the_sample() -> None:
    assert probes.copy_of([1, 2, 3], 2) == (1, 2)
    assert probes.copy_of([1, 2, 3], 7) == (1, 2, 3, 1, 2, 3, 1)
    assert probes.copy_of([], 3) == ()


def test_a_score_that_knows_which_is_better_is_right_every_time_and_one_that_does_not_is_half() -> None:
    edited = Edited(prompt="Once upon", better="a time.", sample=tuple(encode(" a tim.")))
    made = probes.pairs(plan(" It rained. We slept.", " a b c d.", edited=(edited,)), encode, Letters())
    names = [pair.name for pair in made]
    assert sorted(names) == [
        *("copied_prompt", "copied_prompt", "edited_better", "shuffled_sentences", "shuffled_words", "shuffled_words"),
    ]
    better = next(pair for pair in made if pair.name == "edited_better")
    assert (better.better_text, better.worse_text) == (" a time.", " a tim.")  # begins as the sample does
    found = {one["name"]: one for one in probes.report(made, [2.0, 1.0] * len(made))}
    assert [found[name]["n"] for name in probes.NAMES] == [1, 1, 2, 2]
    assert all(one["share"]["value"] == 1 for one in found.values())
    assert found["copied_prompt"]["difference"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert found["edited_better"]["difference"] is None
    blind = {one["name"]: one for one in probes.report(made, [0.0, 0.0] * len(made))}
    assert blind["copied_prompt"]["share"]["value"] == 0.5


@pytest.mark.parametrize("text", ["", "x"])
def test_what_cannot_be_changed_is_left_out(text: str) -> None:
    found = probes.report(probes.pairs(plan(text), encode, Letters()), [1.0, 0.0])
    assert [one["n"] for one in found][:3] == [0, 0, 0]
