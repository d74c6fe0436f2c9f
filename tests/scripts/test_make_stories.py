import json
import random
from pathlib import Path

import pytest

from scripts.make_stories import (
    MAX_TOKENS,
    MIN_TOKENS,
    NEW_TOKENS,
    SAMPLES,
    cut,
    load_continuer,
    make_stories,
    write_jsonl,
)
from scripts.story_grammar import Start, load_grammar
from tests.tiny import save_tiny_model

WORDS = (
    "walked",
    "slowly",
    "past",
    "an",
    "old",
    "grey",
    "wall",
    "and",
    "counted",
    "every",
    "third",
    "stone",
    "until",
    "dusk",
    "came",
    "over",
    "town",
)


def count_words(text: str) -> int:
    return len(text.split())


def ramble(texts: list[str], seed: int) -> list[list[str]]:
    """Random words in place of a model, a period every nine of them."""
    rng = random.Random(seed)
    return [[" The " + " ".join(rng.sample(WORDS, 9)) + ". So" for _ in range(2)] for _ in texts]


def make(seed: int, count: int) -> list[str]:
    return list(make_stories(load_grammar(), ramble, count_words, seed=seed, count=count))


def test_same_seed_same_stories_and_fewer_are_the_beginning() -> None:
    assert make(1, 40) == make(1, 40)
    assert make(1, 10) == make(1, 40)[:10]
    assert make(2, 40) != make(1, 40)


def test_stories_are_distinct_and_of_the_right_length() -> None:
    texts = make(1, 60)
    assert len(set(texts)) == 60
    assert all(MIN_TOKENS <= count_words(text) <= MAX_TOKENS and text.endswith(".") for text in texts)


def test_a_model_that_writes_no_prose_is_refused() -> None:
    with pytest.raises(RuntimeError, match="only 0 of 3"):
        list(make_stories(load_grammar(), lambda texts, _: [["* a\n* b"] for _ in texts], count_words, seed=1, count=3))


def test_cut_ends_at_a_sentence_of_the_same_line() -> None:
    start = Start(text=" ".join(["word"] * 29) + ".", pronoun="she")
    continuation = " She sat down there. She’d seen it all before\nThen it was over."
    assert cut(start, continuation, count_words, random.Random(0)) is None  # 33 words at the only sentence end
    longer = " She sat down on it. It was quite cold. And then"
    ends = {cut(start, longer, count_words, random.Random(seed)) for seed in range(20)}
    assert ends == {f"{start.text} She sat down on it.", f"{start.text} She sat down on it. It was quite cold."}


def test_a_model_continues_the_same_way_twice(tmp_path: Path) -> None:
    continuer, count_tokens = load_continuer(save_tiny_model(tmp_path), threads=1)
    texts = ["She was home and happy.", "She was home to the sun.", "She was home of rain."]
    first = continuer(texts, 7)
    assert first == continuer(texts, 7)
    assert first != continuer(texts, 8)
    assert [len(options) for options in first] == [SAMPLES] * 3
    assert all(count_tokens(option) <= NEW_TOKENS for options in first for option in options)


def test_one_object_a_line(tmp_path: Path) -> None:
    path = tmp_path / "new" / "stories.jsonl"
    write_jsonl(["One.", 'Two, "so".'], path)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"text": "One."}, {"text": 'Two, "so".'}]
