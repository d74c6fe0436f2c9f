"""Judges by name: known scores, functions, and classifiers learned from rated texts."""

import json
from pathlib import Path

import pytest

from app.errors import InvalidError
from workers.judges import RatedText, classifier, load_judge

GOOD, BAD = ("a lovely warm day", "she was so glad"), ("an awful cold night", "he was so sad")


def length_in_words(_: str, text: str) -> float:
    """A judge of the user's."""
    return float(len(text.split()))


def rated(*ratings: float) -> list[RatedText]:
    texts = [(text, 1) for text in GOOD] + [(text, 0) for text in BAD]
    return [RatedText(text=text, rating=ratings[place]) for text, place in texts * 3]


def test_vader_judges_the_continuation() -> None:
    judge = load_judge("vader")
    assert judge("terrible", "She was happy and loved it.") > 0.5 > -0.5 > judge("happy", "It was a horrible death.")


def test_a_judge_can_be_any_function() -> None:
    assert load_judge("tests.workers.test_judges:length_in_words")("", "happy happy") == 2


@pytest.mark.parametrize("name", ["none", "no_such_module:f", "tests.tiny:no_such_function"])
def test_an_unknown_judge_is_refused(name: str) -> None:
    with pytest.raises(InvalidError):
        load_judge(name)


def test_two_ratings_give_log_odds() -> None:
    judge = classifier(rated(0, 1))
    assert judge("", "a lovely glad day") > 0 > judge("", "an awful sad night")
    assert judge("", "nothing that was ever rated") == pytest.approx(judge("", "other unknown words"), abs=0.5)


def test_many_ratings_give_the_rating() -> None:
    texts = [RatedText(text=f"star {'star ' * n}", rating=float(n)) for n in range(5)]
    more = [RatedText(text="gloom", rating=-9.0)] * 5
    judge = classifier([*texts, *more, *texts])
    assert judge("", "gloom") < -4 < judge("", "star")


def test_a_file_of_rated_texts_gives_a_judge(tmp_path: Path) -> None:
    path = tmp_path / "rated.jsonl"
    path.write_text("\n".join(json.dumps({"text": one.text, "rating": one.rating}) for one in rated(0, 1)) + "\n\n")
    judge = load_judge(f"classifier:{path}")
    assert judge("any prompt", GOOD[0]) > judge("any prompt", BAD[0])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"text": "a", "rating": 1}\n{"text": "b"', "line 2: not JSON"),
        ('{"text": "a", "rating": "good"}', 'line 1.*number "rating"'),
        ('{"text": " ", "rating": 1}', "line 1"),
        ('{"text": "a", "rating": NaN}', "line 1"),
        ("[1]", "line 1"),
        ('{"text": "a", "rating": 1}', "teach nothing"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "rated.jsonl"
    path.write_text(content)
    with pytest.raises(InvalidError, match=said):
        load_judge(f"classifier:{path}")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=r"none\.jsonl"):
        load_judge(f"classifier:{tmp_path / 'none.jsonl'}")
