"""Where backups lie: a folder or any store that fsspec opens, with files that are whole or absent."""

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import fsspec
from fsspec.implementations.local import LocalFileSystem

from app.errors import InvalidError

CHUNK_BYTES = 4 * 2**20
UNFINISHED = "unfinished"
"""Folder of files that are being written, of local places alone: stores show a file when it is whole."""


class Counted:
    """Passes bytes on and knows how many there were, and their sum."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Pass on."""
        self._sha256.update(data)
        self.size += len(data)
        self._out.write(data)
        return len(data)

    def flush(self) -> None:
        """Nothing: the end is what counts."""

    @property
    def sha256(self) -> str:
        """Hex sum of what was written so far."""
        return self._sha256.hexdigest()


class Summed(io.RawIOBase):
    """Passes bytes on that are read, and knows their sum."""

    def __init__(self, source: IO[bytes]) -> None:
        super().__init__()
        self._source = source
        self._sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Pass on."""
        data = self._source.read(size)
        self._sha256.update(data)
        return data

    @property
    def sha256(self) -> str:
        """Hex sum of what was read so far."""
        return self._sha256.hexdigest()


class Place:
    """Files by name below one folder or URL.

    Raises: InvalidError for a URL that nothing installed can open.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._fs, self._root = fsspec.core.url_to_fs(os.path.expanduser(url))  # noqa: PTH111 - may be a URL
        except (ImportError, ValueError) as error:
            raise InvalidError(f"Cannot use {url}: {error}.") from error
        self.local = isinstance(self._fs, LocalFileSystem)
        """A folder of this machine."""

    def __str__(self) -> str:
        return self.url

    @contextmanager
    def writing(self, name: str) -> Iterator[Counted]:
        """A file to write; it is there, whole, once the block has ended well."""
        target = self._path(name)
        if not self.local:
            with self._fs.open(target, "wb") as out:
                yield Counted(out)
            return
        fresh = Path(self._path(f"{UNFINISHED}/{uuid4().hex}"))
        for folder in (fresh.parent, Path(target).parent):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            with fresh.open("wb") as out:
                yield Counted(out)
                out.flush()
                os.fsync(out.fileno())
            fresh.replace(target)
            _sync(Path(target).parent)
        finally:
            fresh.unlink(missing_ok=True)

    def reading(self, name: str) -> IO[bytes]:
        """A file to read. Raises: FileNotFoundError."""
        opened: IO[bytes] = self._fs.open(self._path(name), "rb")
        return opened

    def chunks(self, name: str) -> Iterator[bytes]:
        """Its content, piece by piece. Raises: FileNotFoundError."""
        with self.reading(name) as file:
            while data := file.read(CHUNK_BYTES):
                yield data

    def sha256(self, name: str) -> str:
        """Hex sum of all its bytes. Raises: FileNotFoundError."""
        total = hashlib.sha256()
        for data in self.chunks(name):
            total.update(data)
        return total.hexdigest()

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of every file anywhere below `folder`, by its name from there."""
        self._fs.invalidate_cache()
        base = self._path(folder)
        found: dict[str, Any] = self._fs.find(base, detail=True)
        return {path[len(base) :].lstrip("/"): int(facts["size"]) for path, facts in found.items()}

    def remove(self, name: str) -> None:
        """Remove one file."""
        self._fs.rm_file(self._path(name))

    def remove_folder(self, name: str) -> None:
        """Remove a folder with all that is in it, if it is there."""
        if self._fs.exists(self._path(name)):
            self._fs.rm(self._path(name), recursive=True)

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
