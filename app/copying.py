"""How much of a summary is copied from its source: sentences, n-grams, the opening, and where it was taken from.

Source: Ziegler et al. 2019, section 3.2.1, and the blog post of 2019-09-19. Standard library only.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import nan

GRAMS = (1, 2, 3, 4)
OPENING_WORDS = 3
PREAMBLES = ("hi", "hello", "hey", "ok", "okay", "so")
"""With one of these as its first word a post has not begun yet."""
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[.!?][\"')\]])\s+|\n+")
_WORD = re.compile(r"[\w'’]+")

Pair = tuple[str, str]
"""Source and summary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copying:
    """Of many summaries together. Shares are nan where there is nothing to take a share of."""

    summaries: int
    sentences: int
    novel_sentences: float
    """Share of the summaries' sentences that stand nowhere in their source."""
    novel_grams: dict[int, float]
    """Share of the summaries' n-grams of words that stand nowhere in their source, by n."""
    openings: float
    """Share of summaries whose first three words are those of the source."""
    openings_after_preamble: float
    """The same, of sources that open with a preamble."""
    position: float
    """Mean place in the source, 0 its beginning and 1 its end, of the bigrams taken from there in order."""


def measure(pairs: Iterable[Pair]) -> Copying:
    """How much these summaries copy."""
    found = list(pairs)
    novel = [sentence_is_novel(source, one) for source, text in found for one in sentences(text)]
    opened = [(same_opening(source, text), has_preamble(source)) for source, text in found]
    places = [place for source, text in found for place in positions(source, text)]
    return Copying(
        summaries=len(found),
        sentences=len(novel),
        novel_sentences=_share(novel),
        novel_grams={n: _share(one for pair in found for one in novel_grams(*pair, n)) for n in GRAMS},
        openings=_share(same for same, _ in opened),
        openings_after_preamble=_share(same for same, preamble in opened if preamble),
        position=_share(places),
    )


def lead(text: str, count: int = 3) -> str:
    """The first sentences of a text: the baseline that is hard to beat."""
    return " ".join(sentences(text)[:count])


def sentences(text: str) -> list[str]:
    """The sentences of a text; line ends end one too."""
    return [one.strip() for one in _SENTENCE.split(text.strip()) if _WORD.search(one)]


def words(text: str) -> list[str]:
    """Words without case and punctuation."""
    return _WORD.findall(text.casefold())


def sentence_is_novel(source: str, sentence: str) -> bool:
    """Whether the words of a sentence stand nowhere in the source in this order, one behind the other."""
    return f" {' '.join(words(sentence))} " not in f" {' '.join(words(source))} "


def novel_grams(source: str, summary: str, n: int) -> list[bool]:
    """Of each n-gram of the summary, whether it stands nowhere in the source."""
    known = set(_grams(words(source), n))
    return [gram not in known for gram in _grams(words(summary), n)]


def same_opening(source: str, summary: str) -> bool:
    """Whether the summary begins with the first three words of its source."""
    first = words(source)[:OPENING_WORDS]
    return len(first) == OPENING_WORDS and words(summary)[:OPENING_WORDS] == first


def has_preamble(source: str) -> bool:
    """Whether the source opens with a greeting, or with a colon within its first three words."""
    first = words(source)[:1]
    return bool(first and first[0] in PREAMBLES) or any(":" in word for word in source.split()[:OPENING_WORDS])


def positions(source: str, summary: str) -> list[float]:
    """Where the bigrams of the longest common subsequence of bigrams stand in the source, from 0 to 1."""
    theirs, ours = list(_grams(words(source), 2)), list(_grams(words(summary), 2))
    last = max(1, len(theirs) - 1)
    return [place / last for place in _common(theirs, ours)]


def _common(first: Sequence[object], second: Sequence[object]) -> list[int]:
    """Places in `first` of one longest common subsequence."""
    lengths = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i in range(len(first) - 1, -1, -1):
        for j in range(len(second) - 1, -1, -1):
            same = first[i] == second[j]
            lengths[i][j] = lengths[i + 1][j + 1] + 1 if same else max(lengths[i + 1][j], lengths[i][j + 1])
    places, i, j = [], 0, 0
    while i < len(first) and j < len(second):
        if first[i] == second[j]:
            places.append(i)
            i, j = i + 1, j + 1
        elif lengths[i + 1][j] >= lengths[i][j + 1]:
            i += 1
        else:
            j += 1
    return places


def _grams(found: Sequence[str], n: int) -> Iterable[tuple[str, ...]]:
    return zip(*(found[start:] for start in range(n)), strict=False)


def _share(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else nan
