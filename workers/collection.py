"""Removal of checkpoint files that nothing names any more: surveyed first, removed when somebody says so.

Rows are marked before files go, so a kill in between leaves files without a claim on them, which the next time finds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app import retention
from app.db import SessionFactory, session_scope
from app.retention import Unwanted
from workers.checkpoints import CheckpointStore, LostCheckpointError

ORPHAN_SECONDS = 24 * 3600.0
"""Files that no row names are left alone for so long: a job writes its files before the row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """What may go."""

    checkpoints: tuple[tuple[Unwanted, int], ...]
    """With the bytes that each would free; 0 where the files are gone or shared with one before it."""
    orphans: tuple[tuple[str, int], ...]
    """Digests that no checkpoint of the database names, with their bytes."""

    @property
    def bytes(self) -> int:
        """In all."""
        return sum(size for _, size in (*self.checkpoints, *self.orphans))

    def lines(self) -> list[str]:
        """One for each, for people."""
        named = [f"{_mib(size)}  {one}" for one, size in self.checkpoints]
        return named + [f"{_mib(size)}  {digest[:12]}, which no checkpoint names" for digest, size in self.orphans]


def survey(factory: SessionFactory, store: CheckpointStore, *, orphan_seconds: float = ORPHAN_SECONDS) -> Garbage:
    """What could go now; changes nothing."""
    there = store.digests()  # before the rows: what a job writes meanwhile is not looked at
    with factory() as session:
        checkpoints = retention.unwanted(session)
        known = retention.known_digests(session)
    seen: set[str] = set()
    sized = []
    for one in checkpoints:
        sized.append((one, 0 if one.digest in seen else _size(store, one.digest)))
        seen.add(one.digest)
    old = [digest for digest in sorted(there - known) if store.age(digest) > orphan_seconds]
    return Garbage(checkpoints=tuple(sized), orphans=tuple((digest, _size(store, digest)) for digest in old))


def remove(factory: SessionFactory, store: CheckpointStore, garbage: Garbage) -> Garbage:
    """Remove what was surveyed, except what has come to be wanted since. Returns what was removed."""
    with session_scope(factory) as session:
        gone = {one.id for one in retention.let_go(session, {one.id for one, _ in garbage.checkpoints})}
    with factory() as session:
        known = retention.known_digests(session)
    checkpoints = tuple(pair for pair in garbage.checkpoints if pair[0].id in gone)
    orphans = tuple(pair for pair in garbage.orphans if pair[0] not in known)
    _delete(store, [one.digest for one, _ in checkpoints if one.digest not in known])
    _delete(store, [digest for digest, _ in orphans])
    return Garbage(checkpoints=checkpoints, orphans=orphans)


def _delete(store: CheckpointStore, digests: Sequence[str]) -> None:
    for digest in digests:
        store.delete(digest)


def _size(store: CheckpointStore, digest: str) -> int:
    try:
        return store.size(digest)
    except LostCheckpointError:  # gone already, or broken: it frees what it frees
        return 0


def _mib(size: int) -> str:
    return f"{size / 2**20:8.1f} MiB"
