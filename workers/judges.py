"""Judges: numbers that say how good a text is, for labeling and evaluating without people."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline

from app.errors import InvalidError
from app.rules import Score, load_score

CLASSIFIER = "classifier:"
LEAST_RATED = 10
"""Fewer rated texts teach nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedText:
    """A text and what somebody thought of it."""

    text: str
    rating: float


def load_judge(name: str, *, rated: Path | None = None) -> Score:
    """A known score, `module:function`, or `classifier:FILE`: learned from the rated texts of a JSONL file.

    Args:
        rated: where a copy of that file lies, to be read in its place.
    Raises: InvalidError if there is no such judge or the file is not what it must be.
    """
    source = rated_file(name)
    return load_score(name) if source is None else classifier(read_rated(rated or source))


def rated_file(name: str) -> Path | None:
    """The file that a classifier learns from; None of other judges."""
    return Path(name.removeprefix(CLASSIFIER)).expanduser() if name.startswith(CLASSIFIER) else None


def classifier(rated: Sequence[RatedText]) -> Score:
    """A score learned from words and pairs of words of rated texts.

    Two different ratings: the log-odds of the higher one, as the mock sentiment of the paper; more: the rating itself.
    The same texts give the same score.
    Raises: InvalidError for fewer than 10 texts or ratings that are all alike.
    Source: Ziegler et al. 2019, section 3.1.1.
    """
    ratings = sorted({one.rating for one in rated})
    if len(rated) < LEAST_RATED or len(ratings) < 2:
        raise InvalidError(f"{len(rated)} rated texts with {len(ratings)} different ratings teach nothing: give more.")
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    binary = len(ratings) == 2
    model: Pipeline = make_pipeline(words, LogisticRegression(max_iter=1000) if binary else Ridge())
    model.fit([one.text for one in rated], [one.rating for one in rated])
    read = model.decision_function if binary else model.predict
    return lambda _, text: float(read([text])[0])


def read_rated(path: Path) -> list[RatedText]:
    """Rows of `{"text": ..., "rating": number}`, one per line. Raises: InvalidError naming file, line and cause."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidError(f"Cannot read the rated texts in {path}: {error}.") from error
    return [_rated(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1) if line.strip()]


def _rated(line: str, where: str) -> RatedText:
    try:
        row: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidError(f"{where}: not JSON ({error.msg}).") from error
    text, rating = (row.get("text"), row.get("rating")) if isinstance(row, dict) else (None, None)
    if (
        not isinstance(text, str)
        or not text.strip()
        or not isinstance(rating, int | float)
        or not math.isfinite(rating)
    ):
        raise InvalidError(f'{where}: give an object with a non-empty string "text" and a number "rating".')
    return RatedText(text=text, rating=float(rating))
