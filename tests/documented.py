"""The commands that README and docs tell people to type, found by machine."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("docs/evidence/*.md")])
PROGRAMS = ("prefloop", "python", "pytest", "make", "docker")
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")


@dataclass(frozen=True, slots=True)
class Command:
    """One command line."""

    page: str
    line: int
    words: tuple[str, ...]
    """Without a folder before the program, variables before it, and comments."""
    whole: bool
    """It stands in a block, to be copied; else it is mentioned within a sentence."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {shlex.join(self.words)}"


def commands() -> list[Command]:
    """All of them."""
    return [command for page in PAGES for command in _of(page)]


def _of(page: Path) -> Iterator[Command]:
    name = str(page.relative_to(ROOT))
    fenced, language, text, begun = False, "", "", 0
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith("```"):
            fenced, language = not fenced, line[3:].strip()
            continue
        if (fenced and language in ("", "sh", "bash", "console")) or (not fenced and line.startswith("    ")):
            begun = begun if text else number
            text += line.strip().removesuffix("\\") + " "
            if not line.rstrip().endswith("\\"):
                yield from (Command(name, begun, words, whole=True) for words in split(text))
                text = ""
        elif not fenced:
            for span in _SPAN.findall(line):
                yield from (Command(name, number, words, whole=False) for words in split(span))


def split(text: str) -> list[tuple[str, ...]]:
    """The commands of one line that call our programs, or those that run them; none for a line that is no command."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError:  # an apostrophe: prose
        return []
    found, current = [], list[str]()
    for word in [*words, "&&"]:
        if word in ("&&", "|", ";", ">"):
            found.append(current)
            current = []
        else:
            current.append(word)
    return [cleaned for one in found if (cleaned := _cleaned(one)) and cleaned[0] in PROGRAMS and len(cleaned) > 1]


def _cleaned(words: list[str]) -> tuple[str, ...]:
    while words and _ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    return (words[0].rsplit("/", 1)[-1], *words[1:]) if words else ()
