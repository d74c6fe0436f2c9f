"""Take a backup while the site runs: one snapshot of the rows, and every file that it names."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from app import retention
from app.backup import contents, listing, tables
from app.backup.contents import Named, Pool
from app.backup.manifest import FILES, File, Manifest, Table, rows_of
from app.backup.place import Place
from app.errors import InvalidError


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What was done."""

    manifest: Manifest
    added: int
    """Bytes that the place did not have yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What is backed up."""

    engine: Engine
    home: Path
    store: Place
    """Checkpoints, a folder for each digest."""


def take(site: Site, place: Place, *, with_models: bool = True, reread: bool = False) -> Taken:
    """Write one backup. Backups of one site follow each other.

    Rows are read in one snapshot. Files are immutable; whoever would remove one waits while they are copied, so the
    place gets what the snapshot names, and only what no earlier backup brought.

    Args:
        with_models: base models too, so that a restored site needs no network.
        reread: look whether the files that the place has are still whole, and bring broken ones anew.
    Raises: InvalidError if there is nothing to back up; OSError of the place.
    """
    with _removals_wait(site.engine):
        listing.remove_unfinished(place)
        rows, named = _rows(site, place)
        lost: list[str] = []
        elsewhere: list[str] = []
        pool = Pool(place=place, there=_whole(place) if reread else place.sizes(FILES))
        files = tuple(_files(site, named, pool, lost, elsewhere, with_models=with_models))
        manifest = rows.model_copy(update={"files": files, "lost": tuple(lost), "elsewhere": tuple(elsewhere)})
        manifest.write(place)
    return Taken(manifest=manifest, added=pool.added + sum(table.size for table in manifest.tables))


@contextmanager
def _removals_wait(engine: Engine) -> Iterator[None]:
    """Hold the lock of `retention.may_remove`; it must be there before the snapshot is."""
    with engine.begin() as connection:
        connection.execute(text("set local idle_in_transaction_session_timeout to 0"))
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": retention.BACKUP_LOCK})
        yield


def _rows(site: Site, place: Place) -> tuple[Manifest, Named]:
    with tables.snapshot(site.engine) as connection:
        revision = tables.revision(connection)
        if revision is None:
            raise InvalidError("The database has no tables of Prefloop: there is nothing to back up.")
        made: datetime = connection.scalar(text("select now()"))
        version = str(connection.scalar(text("show server_version")))
        name = f"{made:%Y%m%dT%H%M%S.%f}Z"
        dumped = tuple(_table(connection, place, name, table) for table in tables.names(connection))
        with Session(connection) as session:
            named = contents.named(session)
    return Manifest(id=name, made=made, revision=revision, postgresql=version, tables=dumped, files=()), named


def _files(
    site: Site, named: Named, pool: Pool, lost: list[str], elsewhere: list[str], *, with_models: bool
) -> Iterator[File]:
    yield from contents.checkpoints(pool, site.store, named.wanted, lost)
    yield from contents.checkpoints(pool, site.store, named.others, [])  # nobody misses those that are gone
    yield from contents.folder(pool, site.home, "uploads")
    if with_models:
        yield from contents.models(pool, site.home, named.models, elsewhere)


def _table(connection: Connection, place: Place, backup: str, name: str) -> Table:
    columns = tables.columns(connection, name)
    with place.writing(rows_of(backup, name)) as out:
        rows = tables.dump(connection, name, columns, out)
    return Table(name=name, columns=columns, rows=rows, size=out.size, sha256=out.sha256)


def _whole(place: Place) -> dict[str, int]:
    return {name: size for name, size in place.sizes(FILES).items() if place.sha256(f"{FILES}/{name}") == name}
