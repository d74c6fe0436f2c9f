"""The first sentence or two of a story, out of hand-written parts and a seeded generator."""

import random
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Parts = Mapping[str, list[str]]

FOLDER = Path(__file__).parent
FIRST_PERSON_SHARE = 0.3
SCENE_SHARE = 0.2
SECOND_SHARE = 0.75
MAX_DEPTH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    frames: Parts
    """Lists that fit every world, by name."""
    worlds: Mapping[str, Parts]
    """Lists of each world, by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Character:
    subject: str
    """As named the first time: "I", "Marta", "the baker" or "Marta, the baker,"."""
    owner: str
    """The possessive of that name: "my", "Marta's"."""
    pronouns: tuple[str, str, str, str]
    """Subject, object, possessive and reflexive."""

    def words(self) -> dict[str, str]:
        return {"S": self.subject, "P": self.owner, **dict(zip("sopr", self.pronouns, strict=True))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    text: str
    """One or two sentences, ending at a period."""
    pronoun: str
    """Of its main character: "I", "she" or "he"."""


FIRST_PERSON = Character(subject="I", owner="my", pronouns=("I", "me", "my", "myself"))
PRONOUNS = {"she": ("she", "her", "her", "herself"), "he": ("he", "him", "his", "himself")}


def load_grammar(folder: Path = FOLDER) -> Grammar:
    """The committed parts: `story_frames.toml` and `story_worlds.toml` in `folder`."""
    return Grammar(frames=_read(folder / "story_frames.toml"), worlds=_read(folder / "story_worlds.toml"))


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def draw_character(frames: Parts, world: Parts, rng: random.Random) -> Character:
    """The narrator, or a she or he called by a name, by what they are, or by both."""
    if rng.random() < FIRST_PERSON_SHARE:
        return FIRST_PERSON
    gender = rng.choice(["she", "he"])
    name, role = rng.choice(frames[gender]), f"the {rng.choice(world['role'])}"
    both = name if " " in name else f"{name}, {role},"  # "Mr. Okoro, the new student," reads oddly
    subject = rng.choice([name, name, role, both])
    return Character(subject=subject, owner=f"{role if subject == role else name}'s", pronouns=PRONOUNS[gender])


def expand(pattern: str, lists: Parts, words: Mapping[str, str], rng: random.Random, depth: int = 0) -> str:
    """`pattern` with every brace filled from `words`, or by a random phrase of that list, itself expanded.

    Raises: ValueError if lists name each other in a circle, KeyError for a brace that names nothing.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"the parts refer to each other in a circle at {pattern!r}")

    def fill(match: re.Match[str]) -> str:
        name = match.group(1)
        return words[name] if name in words else expand(rng.choice(lists[name]), lists, words, rng, depth + 1)

    return re.sub(r"\{(\w+)\}", fill, pattern)


def capitalised(text: str) -> str:
    """`text` with a capital at the start of each sentence and no doubled commas."""
    text = text.replace(",,", ",").replace(",.", ".")
    return re.sub(r"(^|(?<!Mr)(?<!Mrs)\. )([a-z])", lambda m: m.group(1) + m.group(2).upper(), text)


def draw_start(grammar: Grammar, rng: random.Random) -> Start:
    """One or two sentences of a story, of one world and one character."""
    world = grammar.worlds[rng.choice(sorted(grammar.worlds))]
    lists = {**grammar.frames, **world}
    if rng.random() < SCENE_SHARE:
        patterns = [rng.choice(world["scene"]), rng.choice(lists["enter"])]
    else:
        patterns = [rng.choice(lists["first"])]
        patterns += [rng.choice(lists["second"])] if rng.random() < SECOND_SHARE else []
    words = draw_character(grammar.frames, world, rng).words()
    text = " ".join(expand(pattern, lists, words, rng) for pattern in patterns)
    return Start(text=capitalised(text), pronoun=words["s"])
