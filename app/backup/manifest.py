"""What a backup says of itself: which files and tables, how large, with which sums. It carries its own sum."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from app.backup.place import Place
from app.errors import InvalidError, NotFoundError

FORMAT = 1
NAME = "manifest.json"
BACKUPS = "backups"
FILES = "files"

Sum = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_ID = re.compile(r"\d{8}T\d{6}\.\d{6}Z")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Table(_Part):
    """The rows of one table, as PostgreSQL's COPY writes them, compressed by gzip."""

    name: str
    columns: tuple[str, ...]
    rows: int
    size: int
    """Bytes as they lie in the place."""
    sha256: Sum


class File(_Part):
    """One file of the home folder."""

    path: str
    """From the home folder: `checkpoints/<digest>/<name>`, `models/<name>/...`, `uploads/<key>/<name>`."""
    size: int
    sha256: Sum

    @field_validator("path")
    @classmethod
    def _stays_in_the_home_folder(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if len(parts) < 3 or parts[0] not in ("checkpoints", "models", "uploads") or ".." in parts:
            raise ValueError("no path of a backup")
        return path

    @property
    def folder(self) -> str:
        """The folder that is whole or absent."""
        return "/".join(PurePosixPath(self.path).parts[:2])


class Manifest(_Part):
    """One backup."""

    format: int = FORMAT
    id: str
    made: datetime
    """By the database's clock, at the moment of the snapshot."""
    revision: str
    """Of the database's schema."""
    postgresql: str
    """Version of the server it came from."""
    tables: tuple[Table, ...]
    files: tuple[File, ...]
    lost: tuple[str, ...] = ()
    """Checkpoints that the database names and the store could not give, each with its reason."""
    elsewhere: tuple[str, ...] = ()
    """Folders of base models that lie outside the home folder and are not in the backup."""

    @property
    def rows(self) -> int:
        """In all tables."""
        return sum(table.rows for table in self.tables)

    @property
    def size(self) -> int:
        """Bytes of rows and files; other backups of the place may share the files."""
        shared = {file.sha256: file.size for file in self.files}
        return sum(table.size for table in self.tables) + sum(shared.values())

    def name_of(self, table: Table) -> str:
        """Where the rows of a table lie in the place."""
        return rows_of(self.id, table.name)

    def write(self, place: Place) -> None:
        """Make the backup one that is there."""
        body = self.model_dump_json().encode()
        with place.writing(f"{BACKUPS}/{self.id}/{NAME}") as out:
            out.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body + b"\n")

    @classmethod
    def read(cls, place: Place, backup: str) -> Self:
        """Raises: NotFoundError; InvalidError if it is damaged, or of a later format."""
        where = f"{place}/{BACKUPS}/{backup}/{NAME}"
        if not _ID.fullmatch(backup):
            raise NotFoundError(f"{backup!r} is no name of a backup: `prefloop backups {place}` lists them.")
        try:
            told, _, body = b"".join(place.chunks(f"{BACKUPS}/{backup}/{NAME}")).rstrip(b"\n").partition(b"\n")
        except FileNotFoundError as error:
            raise NotFoundError(f"There is no backup {backup} in {place}: `prefloop backups` lists them.") from error
        if hashlib.sha256(body).hexdigest().encode() != told:
            raise InvalidError(f"{where} is damaged: its sum is wrong. Take another backup of the place.")
        try:
            made = cls.model_validate_json(body)
        except ValidationError as error:
            raise InvalidError(f"{where} is of a form that this version cannot read: use a later Prefloop.") from error
        if made.format != FORMAT:
            raise InvalidError(f"{where} has format {made.format}, this version reads {FORMAT}: use a later Prefloop.")
        return made


def rows_of(backup: str, table: str) -> str:
    """Where the rows of a table lie in the place."""
    return f"{BACKUPS}/{backup}/{table}.copy.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One thing that is not as the manifest says."""

    name: str
    """In the place."""
    what: str
    """What it holds, for people."""
    fact: str

    def __str__(self) -> str:
        return f"{self.name} ({self.what}) {self.fact}"
