"""Put a backup into an empty site: everything is read and compared first, rows come in one transaction."""

import shutil
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from uuid import uuid4

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from app import audit, migrating
from app.backup import listing, tables
from app.backup.manifest import FILES, File, Manifest, Table
from app.backup.place import Counted, Place, Summed
from app.backup.taking import Site
from app.checkpoint_files import MANIFEST
from app.errors import ConflictError, InvalidError

CHECKPOINTS = "checkpoints/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was done."""

    manifest: Manifest
    revision: str
    """Of the schema that the rows have now."""


def restore(site: Site, place: Place, backup: str | None = None) -> Restored:
    """Put a backup, the newest by default, into a site without rows.

    Args:
        site: its engine as the role that owns the tables.
    Raises: NotFoundError without such a backup; InvalidError if it is damaged or from a newer Prefloop; ConflictError
        if the site holds anything that is not the backup's.
    """
    manifest = Manifest.read(place, backup or listing.newest(place))
    _require_known(manifest)
    with site.engine.begin() as connection:
        _require_empty(connection)
    _require_whole(place, manifest)
    missing = [files for files in _folders(manifest) if not _is_there(site, files)]
    for files in missing:
        _put(site, place, files)
    with site.engine.begin() as connection:
        tables.lock(connection)
        _require_empty(connection)
        _put_rows(connection, place, manifest)
    return Restored(manifest=manifest, revision=migrating.newest())


def _require_known(manifest: Manifest) -> None:
    if not migrating.knows(manifest.revision):
        raise InvalidError(
            f"Backup {manifest.id} has schema {manifest.revision}, this version knows none after {migrating.newest()}: "
            "restore it with the Prefloop that made it, or a later one."
        )


def _require_empty(connection: Connection) -> None:
    there = tables.names(connection)
    revision = tables.revision(connection)
    if there and (revision is None or not migrating.knows(revision)):
        raise ConflictError("The database holds tables that are not of this Prefloop: restore into an empty one.")
    for name in there:
        if connection.scalar(text(f'select exists (select from "{name}")')):
            raise ConflictError(
                f"The database is not empty ({name} has rows) and nothing is overwritten: restore into an empty one."
            )


def _require_whole(place: Place, manifest: Manifest) -> None:
    damages = list(listing.examine(place, manifest))
    if damages:
        more = f" and {len(damages) - 1} more" if len(damages) > 1 else ""
        raise InvalidError(f"Backup {manifest.id} is damaged, nothing was restored: {damages[0]}{more}.")


def _folders(manifest: Manifest) -> list[list[File]]:
    files = sorted(manifest.files, key=attrgetter("path"))
    return [list(group) for _, group in groupby(files, key=attrgetter("folder"))]


def _is_shared(site: Site, files: list[File]) -> bool:
    """Whether it belongs into the store that several machines share, where nothing can be renamed."""
    return files[0].folder.startswith(CHECKPOINTS) and not site.store.local


def _is_there(site: Site, files: list[File]) -> bool:
    """Whether a folder is there already. Raises: ConflictError if it is another one."""
    folder = files[0].folder
    if _is_shared(site, files):
        there, cut = site.store, len(CHECKPOINTS)
    else:
        there, cut = Place(str(site.home)), 0
    names = set(there.sizes(folder[cut:]))
    for file in files if names else ():
        name = file.path[cut:]
        if name.removeprefix(f"{folder[cut:]}/") not in names or there.sha256(name) != file.sha256:
            if _is_shared(site, files):
                return False  # of a restore that was killed: under a digest there is nothing else to overwrite
            raise ConflictError(f"{there}/{name} is there and is not the backup's: move {folder[cut:]} away first.")
    return bool(names)


def _put(site: Site, place: Place, files: list[File]) -> None:
    """Write one folder, whole or not at all."""
    if _is_shared(site, files):
        for file in sorted(files, key=lambda one: one.path.endswith(MANIFEST)):  # where it is, all of them are
            with site.store.writing(file.path[len(CHECKPOINTS) :]) as out:
                _copy(place, file, out)
        return
    home, folder = site.home, files[0].folder
    fresh = f"{folder.split('/', 1)[0]}/.tmp-restored-{uuid4().hex}"
    mine = Place(str(home))
    try:
        for file in files:
            with mine.writing(fresh + file.path.removeprefix(folder)) as out:
                _copy(place, file, out)
        (home / fresh).chmod(0o700 if folder.startswith("uploads/") else 0o755)
        (home / fresh).rename(home / folder)
    finally:
        shutil.rmtree(home / fresh, ignore_errors=True)
        shutil.rmtree(home / "unfinished", ignore_errors=True)


def _copy(place: Place, file: File, out: Counted) -> None:
    for data in place.chunks(f"{FILES}/{file.sha256}"):
        out.write(data)
    if out.sha256 != file.sha256:
        raise InvalidError(f"{place}/{FILES}/{file.sha256} changed while it was restored: begin again.")


def _put_rows(connection: Connection, place: Place, manifest: Manifest) -> None:
    migrating.within(connection, migrating.DOWN, "base")
    migrating.within(connection, migrating.UP, manifest.revision)
    with tables.without_foreign_keys(connection):
        for table in manifest.tables:
            _load(connection, place, manifest, table)
    tables.set_counters(connection)
    migrating.within(connection, migrating.UP, "head")
    with Session(connection) as session:
        audit.record(session, None, "site.restored", backup=manifest.id, made=manifest.made.isoformat())
        session.flush()


def _load(connection: Connection, place: Place, manifest: Manifest, table: Table) -> None:
    name = manifest.name_of(table)
    with place.reading(name) as file:
        packed = Summed(file)  # it was looked at a while ago
        rows = tables.load(connection, table.name, table.columns, packed)
    if (rows, packed.sha256) != (table.rows, table.sha256):
        raise InvalidError(f"{place}/{name} changed while it was restored: nothing was; begin again.")
