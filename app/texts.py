"""Texts of prompts: read them, and split them by a hash of what they say. Standard library only."""

import hashlib
import importlib.resources
import json
from pathlib import Path

from app.errors import InvalidError
from app.kinds import Split

TEST_SHARE = 0.15
VALID_SHARE = 0.10


def normalise(text: str) -> str:
    """The text as it counts for sameness: case folded, runs of white space as one space."""
    return " ".join(text.casefold().split())


def digest_of(text: str) -> str:
    """Hex sha256 of the normalised text."""
    return hashlib.sha256(normalise(text).encode()).hexdigest()


def split_of(digest: str) -> Split:
    """The split of a text, for ever and everywhere: 15 % test, 10 % valid, the rest train."""
    place = int(digest[:8], 16) / 2**32
    if place < TEST_SHARE:
        return Split.TEST
    return Split.VALID if place < TEST_SHARE + VALID_SHARE else Split.TRAIN


def bundled_stories() -> list[str]:
    """The story openings that come with Prefloop."""
    content = importlib.resources.files("app").joinpath("data/stories.jsonl").read_text(encoding="utf-8")
    return [_text_of(line, f"stories.jsonl, line {number}") for number, line in _numbered(content)]


def read_file(path: Path) -> list[str]:
    """Prompts of a file: `.jsonl` with one JSON string or object with a `text` per line, else one prompt per line.

    Blank lines are skipped. Raises: InvalidError naming the file and line.
    """
    try:
        lines = _numbered(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}.") from error
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        return [line for _, line in lines]
    return [_text_of(line, f"{path}, line {number}") for number, line in lines]


def _numbered(content: str) -> list[tuple[int, str]]:
    """Lines that are not blank, numbered from 1; `splitlines` would also split at characters JSON strings may hold."""
    return [(number, line) for number, line in enumerate(content.split("\n"), start=1) if line.strip()]


def _text_of(line: str, where: str) -> str:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidError(f"{where}: not JSON ({error.msg}).") from error
    text = value.get("text") if isinstance(value, dict) else value
    if not isinstance(text, str) or not text.strip():
        raise InvalidError(f'{where}: give a string, or an object with a non-empty string "text".')
    return text
