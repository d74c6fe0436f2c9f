"""Which texts may stand as story openings, and which are too much like one already kept."""

import re
from collections import Counter
from itertools import pairwise

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

MAX_COMPOUND = 0.6
"""Largest absolute sentiment (vader compound, in [-1, 1]): what follows must be able to move both ways."""
MAX_OVERLAP = 0.4
"""Largest Jaccard overlap of two openings' five-word shingles."""
MAX_SAME_SHINGLE = 60
"""Openings of one set that may share any five words in a row."""
MAX_SAME_START = 3
"""Openings of one set that may share their first six words."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


UNWANTED_WORDS = _words(
    """abuse abused alcohol arrested assault assistant attacked blood bloody bodies bomb bombs breast breasts chatbot
    corpse cocaine crime dead death deaths died dies die drown drowned drug drugs drunk dying essay evil explode
    exploded genocide gun guns hell hitler horror hostage kill killed killer killing kills lust molested murder murdered
    murderer naked nazi nazis nude paragraph poison poisoned porn prompt prostitute racist rape raped rapist scream
    screaming sex sexual sexy shit fuck fucking damn bitch bastard whore shooting slave slaves slaughter slaughtered
    stabbed strangled suicide terrorist terrorists torture tortured user victim victims weapon weapons wikipedia"""
)
UNWANTED_PHRASES = (
    "as an ai",
    "language model",
    "in conclusion",
    "in summary",
    "the end.",
    "the story",
    "this story",
    "the narrator",
    "the protagonist",
    "the main character",
    "the reader",
    "i'm sorry",
    "i can help",
    "here is",
    "here are",
    "the following",
    "for example",
    "importance of",
    "a testament",
    "the power of",
    "a reminder",
    "the author",
    "once upon a time",
    "reminded them that",
    "taught them that",
    "teaches us",
    "the moral",
    "her journey",
    "his journey",
    "my journey",
    "sense of wonder",
    "the passage",
)
ABBREVIATION_END = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Jr|Sr|No|etc|[A-Z])\.$")
ALLOWED = re.compile(r"[A-Za-z0-9 ,.;:'\"?!-]+")
UNTIDY = re.compile(
    r"(?<!\w)'|'(?!\w)"  # single quotation marks: they cannot be balanced against apostrophes
    r"|\s{2}|\s[,.;:?!]|[,.;:]{2}|[.,?!][A-Za-z]|-\s|\s-|^\W"
    r"|\b[A-Z]{3,}\b"
)
SENTENCE_END = re.compile(r"\.(?=\s|$)")

NOT_PAST = _words(
    """is are am has have can can't cannot will won't don't doesn't isn't aren't i'm i've i'll it's that's there's he's
    she's they're we're we've you you're your you'll let's may must says goes knows thinks feels looks wants makes
    becomes today nowadays"""
)
"""Words that leave the past tense or turn to the reader; allowed inside quotation marks."""
FIRST_PERSON_WORDS = _words("i me my mine myself we us our ours ourselves i'd we'd")
OTHER_PERSONS = {
    "I": frozenset[str](),
    "she": FIRST_PERSON_WORDS | _words("he him his himself he'd"),
    "he": FIRST_PERSON_WORDS | _words("she her hers herself she'd"),
}


def words_of(text: str) -> list[str]:
    """Lower-case words of `text`, without punctuation."""
    return re.findall(r"[a-z0-9']+", text.casefold())


def shingles_of(text: str) -> frozenset[tuple[str, ...]]:
    """Every five words in a row."""
    words = words_of(text)
    return frozenset(tuple(words[i : i + 5]) for i in range(len(words) - 4))


def is_plain_prose(text: str) -> bool:
    """Whether `text` is printable English prose of whole sentences that ends at a period."""
    balanced = text.count('"') % 2 == 0
    whole = text.endswith(".") and not text.endswith("..") and not ABBREVIATION_END.search(text)
    return bool(ALLOWED.fullmatch(text)) and balanced and whole and not UNTIDY.search(text)


def is_wanted(text: str) -> bool:
    """Whether `text` is free of dark or crude words and of talk about the text itself."""
    lower = text.casefold()
    return UNWANTED_WORDS.isdisjoint(words_of(text)) and not any(phrase in lower for phrase in UNWANTED_PHRASES)


def follows(start: str, pronoun: str, continuation: str) -> bool:
    """Whether `continuation` keeps to the tense, the person and the names of `start`.

    A small model wanders off; a new name, number or gender is the plainest sign of it. What somebody says inside
    quotation marks may do all of that.
    """
    told = re.sub(r'"[^"]*"', " ", continuation)
    words = set(words_of(told))
    names = set(re.findall(r"(?<=[a-z,;] )[A-Z][a-z]+", told)) - set(re.findall(r"[A-Z][a-z]+", start))
    told_well = words.isdisjoint(NOT_PAST | OTHER_PERSONS[pronoun]) and not re.search(r"\d", told)
    return told_well and not names and all(len(words_of(part)) > 2 for part in SENTENCE_END.split(told) if part.strip())


def repeats_itself(text: str) -> bool:
    """Whether four words in a row, or two sentence starts of three words, occur twice, or a word twice running."""
    words = words_of(text)
    fours = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    starts = [tuple(words_of(sentence)[:3]) for sentence in SENTENCE_END.split(text) if sentence.strip()]
    doubled = any(a == b for a, b in pairwise(words) if a != "had")
    return doubled or len(set(fours)) < len(fours) or len(set(starts)) < len(starts)


class SentimentGate:
    """Lets openings pass that are neither strongly pleasant nor strongly unpleasant."""

    def __init__(self) -> None:
        self._vader = SentimentIntensityAnalyzer()

    def admits(self, text: str) -> bool:
        compound: float = self._vader.polarity_scores(text)["compound"]
        return abs(compound) <= MAX_COMPOUND


class Collection:
    """Openings kept so far, each unlike all the others."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._sizes: list[int] = []
        self._owners: dict[tuple[str, ...], list[int]] = {}
        self._starts: Counter[tuple[str, ...]] = Counter()

    def has_room_for(self, start: str) -> bool:
        """Whether an opening that begins with `start` may still be kept."""
        worn = any(len(self._owners.get(shingle, [])) >= MAX_SAME_SHINGLE for shingle in shingles_of(start))
        return not worn and self._starts[_first_words(start)] < MAX_SAME_START

    def add(self, text: str) -> bool:
        """Keep `text` unless it is too like a kept one; whether it was kept."""
        shingles = shingles_of(text)
        if not self.has_room_for(text) or self._is_near(shingles):
            return False
        for shingle in shingles:
            self._owners.setdefault(shingle, []).append(len(self.texts))
        self._starts[_first_words(text)] += 1
        self.texts.append(text)
        self._sizes.append(len(shingles))
        return True

    def _is_near(self, shingles: frozenset[tuple[str, ...]]) -> bool:
        shared = Counter(owner for shingle in shingles for owner in self._owners.get(shingle, []))
        return any(n / (len(shingles) + self._sizes[i] - n) > MAX_OVERLAP for i, n in shared.items())


def _first_words(text: str) -> tuple[str, ...]:
    return tuple(words_of(text)[:6])
