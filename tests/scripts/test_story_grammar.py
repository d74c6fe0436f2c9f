import random
import re

import pytest

from scripts.story_grammar import FOLDER, PRONOUNS, Grammar, Start, draw_start, expand, load_grammar

CHARACTER_WORDS = set("SPsopr")


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return load_grammar()


def draw(grammar: Grammar, seed: int, number: int) -> list[Start]:
    rng = random.Random(seed)
    return [draw_start(grammar, rng) for _ in range(number)]


def test_every_world_has_the_same_lists_and_no_phrase_twice(grammar: Grammar) -> None:
    assert {frozenset(world) for world in grammar.worlds.values()} == {frozenset(grammar.worlds["sea"])}
    for world in grammar.worlds.values():
        for phrases in world.values():
            assert len(set(phrases)) == len(phrases) > 4


def test_every_brace_names_a_list_or_a_word_of_the_character(grammar: Grammar) -> None:
    known = CHARACTER_WORDS | set(grammar.frames) | set(grammar.worlds["sea"])
    for path in sorted(FOLDER.glob("story_*.toml")):
        text = re.sub(r"^#.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert set(re.findall(r"\{(\w*)\}", text)) <= known
        assert text.count("{") == text.count("}") == len(re.findall(r"\{\w+\}", text))


def test_starts_are_whole_sentences(grammar: Grammar) -> None:
    for start in draw(grammar, 0, 2000):
        assert re.fullmatch(r"[A-Z][A-Za-z0-9 ,.'-]+\.", start.text), start.text
        assert ",," not in start.text
        assert not re.search(r"[.,]\.|\s{2}|(?<!Mr)(?<!Mrs)\. [a-z]", start.text), start.text


def test_same_seed_same_starts_and_few_alike(grammar: Grammar) -> None:
    assert draw(grammar, 3, 200) == draw(grammar, 3, 200)
    assert draw(grammar, 3, 200) != draw(grammar, 4, 200)
    assert len({start.text for start in draw(grammar, 3, 2000)}) > 1900


def test_narrators_and_both_genders_tell(grammar: Grammar) -> None:
    starts = draw(grammar, 5, 2000)
    shares = {pronoun: sum(start.pronoun == pronoun for start in starts) / 2000 for pronoun in ("I", *PRONOUNS)}
    assert sum(shares.values()) == 1
    assert all(0.25 < share < 0.45 for share in shares.values())


def test_expand_refuses_circles() -> None:
    with pytest.raises(ValueError, match="circle"):
        expand("{a}", {"a": ["{b}"], "b": ["{a}"]}, {}, random.Random(0))
