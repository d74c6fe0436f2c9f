import pytest

from scripts import story_filters
from scripts.story_filters import Collection, SentimentGate, follows, is_plain_prose, is_wanted, repeats_itself


@pytest.mark.parametrize(
    "text", ['She said, "Wait." Nobody did.', "It was Mr. Finch who knocked at the neighbor's door."]
)
def test_plain_prose(text: str) -> None:
    assert is_plain_prose(text)


@pytest.mark.parametrize(
    "text",
    [
        'She said, "Wait.',
        "He left",
        "He left...",
        "He asked for Mr.",
        "- one\n- two.",
        "He  left.",
        "Caf\u00e9 doors shut.",
        "It was the 'best.",
        "Then he left .",
        "# Title.",
    ],
)
def test_not_plain_prose(text: str) -> None:
    assert not is_plain_prose(text)


def test_dark_words_and_talk_about_the_text_are_unwanted() -> None:
    assert is_wanted("The diet of the dyer was plain.")
    assert not is_wanted("The Murderer smiled.")
    assert not is_wanted("The story ends well.")


@pytest.mark.parametrize(
    ("continuation", "fits"),
    [
        ("She opened the door.", True),
        ('She turned and said, "He is in Paris, and I can wait."', True),
        ("She is glad.", False),
        ("He opened the door.", False),
        ("I opened the door.", False),
        ("She had been to Paris.", False),
        ("She knew Marta well.", True),
        ("She waited 20 minutes.", False),
        ("She waited there. Alone.", False),
    ],
)
def test_follows_in_tense_person_and_names(continuation: str, fits: bool) -> None:
    assert follows("The baker looked at Marta.", "she", continuation) is fits


def test_repetition() -> None:
    assert not repeats_itself("He had had enough. She went to the door and then to the window.")
    assert repeats_itself("It was very very late.")
    assert repeats_itself("He sat by the door, and she sat by the door and the bed, by the door and the bed.")
    assert repeats_itself("She was not old. He slept. She was not young.")


def test_strong_sentiment_is_shut_out_on_both_sides() -> None:
    gate = SentimentGate()
    assert gate.admits("The train stood in the open fields.")
    assert not gate.admits("What a wonderful, lovely, happy day, full of love and joy.")
    assert not gate.admits("It was a horrible, sad, disgusting day, full of hate and pain.")


def test_collection_keeps_no_near_copies() -> None:
    kept = Collection()
    assert kept.add("The train had been standing in the open fields for two hours.")
    assert not kept.add("The train had been standing in the open fields for two hours!")
    # 6 shared shingles of 8 and 9 apiece: 6 / 11 is above the limit; 1 shared of 8 and 8 is below.
    assert not kept.add("A train had been standing in the open fields for two days now.")
    assert kept.add("My aunt had been standing in the kitchen since the middle of the night.")
    assert len(kept.texts) == 2


def test_collection_limits_how_often_a_beginning_and_a_phrase_return() -> None:
    kept = Collection()
    words = ["".join(chr(97 + (n // 26**k) % 26) for k in range(3)) for n in range(3000)]
    tail = iter(range(0, 3000, 12))

    def opening(start: str) -> str:
        first = next(tail)
        return f"{start} {' '.join(words[first : first + 12])}."

    begun = [kept.add(opening("One two three four five six")) for _ in range(5)]
    assert begun == [True] * story_filters.MAX_SAME_START + [False] * 2
    assert not kept.has_room_for("One two three four five six")
    phrase = [kept.add(opening(f"{words[n]} {words[n + 1]} but it was not so")) for n in range(0, 140, 2)]
    assert sum(phrase) == story_filters.MAX_SAME_SHINGLE
