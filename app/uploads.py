"""Files that people bring: kept under the home folder, named by an id of ours and the name they had."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from app.errors import InvalidError

PREFIX = "upload:"
_NAME = re.compile(r"[\w][\w.+ -]{0,150}")
_REFERENCE = re.compile(r"upload:([0-9a-f]{32})/([\w][\w.+ -]{0,150})")


def is_upload(source: str) -> bool:
    """Whether a source names an upload."""
    return source.startswith(PREFIX)


@contextmanager
def new_file(home: Path, name: str) -> Iterator[tuple[str, BinaryIO]]:
    """A file to write, and the source by which it is named later; taken away again if the block fails.

    Raises: InvalidError for a name that is no plain file name.
    """
    last = name.replace("\\", "/").rsplit("/", 1)[-1].strip()
    if not _NAME.fullmatch(last):
        raise InvalidError("Give the file a name of letters, digits, dots, dashes and spaces, such as prompts.jsonl.")
    key = secrets.token_hex(16)
    path = folder(home) / key / last
    path.parent.mkdir(parents=True, mode=0o700)
    try:
        with path.open("xb") as file:
            yield f"{PREFIX}{key}/{last}", file
    except BaseException:
        path.unlink(missing_ok=True)
        path.parent.rmdir()
        raise


def key_of(source: str) -> str:
    """The name of an upload's own folder."""
    return source.removeprefix(PREFIX).split("/", 1)[0]


def keep(home: Path, source: str) -> None:
    """An upload is about to be used: its time counts anew. Raises: InvalidError if it is none, or is gone."""
    os.utime(path_of(home, source))


def path_of(home: Path, source: str) -> Path:
    """Where an upload lies. Raises: InvalidError if it is none, or is gone."""
    found = _REFERENCE.fullmatch(source)
    path = folder(home) / found[1] / found[2] if found else None
    if path is None or not path.is_file():
        raise InvalidError(f"There is no upload {source}: upload the file again.")
    return path


def folder(home: Path) -> Path:
    """Where uploads lie, each in a folder of its own."""
    return home.expanduser() / "uploads"
