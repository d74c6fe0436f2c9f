"""Which files belong to a snapshot, and how they get into the place: only those that no backup has brought yet."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import retention
from app.backup.manifest import FILES, File
from app.backup.place import Place
from app.checkpoint_files import MANIFEST, digest_of, files_of
from app.models import Run


class LostError(Exception):
    """A file is not what it must be; the message is a fact without advice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What the rows of a snapshot name."""

    wanted: frozenset[str]
    """Digests of checkpoints that must be in the store."""
    others: frozenset[str]
    """Digests that may be in the store."""
    models: frozenset[str]
    """Base models, as runs name them."""


@dataclass(slots=True, kw_only=True)
class Pool:
    """The files of a place by their sums."""

    place: Place
    there: dict[str, int] = field(default_factory=dict)
    """Bytes of each."""
    added: int = 0
    """Bytes that were brought."""

    def bring(self, source: Place, name: str, *, sha256: str | None = None) -> tuple[int, str]:
        """Let the place have a file; its size and sum.

        Args:
            sha256: what the sum must be, for a file that the place may have without its being read here.
        Raises: LostError if the file is gone or has another sum.
        """
        try:
            sha256 = sha256 or source.sha256(name)
            size = self.there.get(sha256)
            return (self._copy(source, name, sha256), sha256) if size is None else (size, sha256)
        except FileNotFoundError as error:
            raise LostError(f"lacks {name}") from error

    def _copy(self, source: Place, name: str, sha256: str) -> int:
        chunks = source.chunks(name)
        first = next(chunks, b"")
        with self.place.writing(f"{FILES}/{sha256}") as out:
            out.write(first)
            for data in chunks:
                out.write(data)
            if out.sha256 != sha256:
                raise LostError(f"has {name} damaged")
        self.there[sha256] = out.size
        self.added += out.size
        return out.size


def named(session: Session) -> Named:
    """What the rows name."""
    wanted = retention.wanted_digests(session)
    return Named(
        wanted=frozenset(wanted),
        others=frozenset(retention.known_digests(session) - wanted),  # a name of a base model is no digest: not found
        models=frozenset(session.scalars(select(Run.base_model))),
    )


def checkpoints(pool: Pool, store: Place, digests: Iterable[str], lost: list[str]) -> Iterator[File]:
    """Bring checkpoints, each whole; what is lost is told and left out."""
    for digest in sorted(digests):
        try:
            yield from _checkpoint(pool, store, digest)
        except LostError as error:
            lost.append(f"checkpoint {digest} {error}")


def _checkpoint(pool: Pool, store: Place, digest: str) -> list[File]:
    try:
        body = b"".join(store.chunks(f"{digest}/{MANIFEST}"))
        manifest = json.loads(body)
    except FileNotFoundError as error:
        raise LostError("is not in the store") from error
    except ValueError as error:
        raise LostError("has no readable manifest") from error
    if digest_of(manifest) != digest:
        raise LostError("has a changed manifest")
    sums = {name: written["sha256"] for name, written in files_of(manifest).items()} | {MANIFEST: None}
    brought = {name: pool.bring(store, f"{digest}/{name}", sha256=sha256) for name, sha256 in sums.items()}
    return [File(path=f"checkpoints/{digest}/{name}", size=one[0], sha256=one[1]) for name, one in brought.items()]


def folder(pool: Pool, home: Path, name: str) -> Iterator[File]:
    """Bring all that lies below a folder of the home folder, such as `uploads`; what goes meanwhile is left out."""
    source = Place(str(home))
    for inner in sorted(source.sizes(name)):
        path = f"{name}/{inner}"
        if any(part.startswith(".") for part in Path(path).parts):  # being written
            continue
        try:
            size, sha256 = pool.bring(source, path)
        except LostError:
            continue
        yield File(path=path, size=size, sha256=sha256)


def models(pool: Pool, home: Path, names: Iterable[str], elsewhere: list[str]) -> Iterator[File]:
    """Bring base models that lie in the home folder; folders elsewhere are told."""
    for name in sorted(names):
        if name.startswith((".", "~", "/")):
            elsewhere.append(name)
        elif (home / "models" / name.replace("/", "--")).is_dir():
            yield from folder(pool, home, f"models/{name.replace('/', '--')}")
