"""`prefloop backup`, `backups` and `restore`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from app import backup as backing
from app import migrating, standing
from app.backup import Manifest, Place, Restored, Site, Taken
from app.db import make_engine
from app.errors import InvalidError, UnavailableError
from app.settings import Settings

Where = Annotated[str, typer.Argument(help="Folder or URL (s3://bucket/prefix, ...) for the backups of this site.")]
Which = Annotated[str | None, typer.Option("--backup", help="Name of the backup; default: the newest.")]


def backup(
    place: Where,
    keep: Annotated[int | None, typer.Option(min=1, help="Then remove all but so many of the newest.")] = None,
    models: Annotated[bool, typer.Option(help="Base models too, so that a restored site needs no network.")] = True,
    reread: Annotated[
        bool, typer.Option("--reread", help="Read the files that are there already, and mend broken ones.")
    ] = False,
) -> None:
    """Back up rows, checkpoints, models and uploads, also while the site runs; exit code 1 if anything was lost."""
    target = Place(place)
    reachable = standing.reachable(_settings())
    with _place_works(target), reachable as settings, _site(settings, settings.need_database_url()) as site:
        taken = backing.take(site, target, with_models=models, reread=reread)
    with _place_works(target):
        gone = backing.remove_all_but(target, keep) if keep else []
    print(_said(taken), *(f"Removed the backup {name}." for name in gone), sep="\n")
    if taken.manifest.lost:
        raise typer.Exit(1)


def backups(
    place: Where,
    which: Which = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read every byte; exit code 1 if any is damaged.")] = False,
) -> None:
    """List the backups of a place, or see whether one is whole."""
    target = Place(place)
    with _place_works(target):
        names = backing.backups(target) if which is None else [which]
        if verify and which is None:
            names = [backing.newest(target)]
        for name in names:
            print(_line(Manifest.read(target, name)))
        damages = list(backing.examine(target, Manifest.read(target, names[0]))) if verify else []
    if verify:
        print("\n".join(map(str, damages)) or "Every byte is as it was written.")
    if damages:
        raise typer.Exit(1)


def restore(place: Where, which: Which = None) -> None:
    """Put a backup into a site without rows, each byte checked first; nothing is overwritten."""
    target = Place(place)
    with standing.alone(_settings()) as settings, _site(settings, settings.need_owner_url()) as site:
        with _place_works(target):
            restored = backing.restore(site, target, which)
        migrating.let_in(site.engine, settings.need_database_url())
    print(_told(restored))


@contextmanager
def _site(settings: Settings, url: str) -> Iterator[Site]:
    engine = make_engine(url, pool_size=2)
    try:
        yield Site(engine=engine, home=settings.home, store=Place(settings.store or str(settings.checkpoints_dir)))
    finally:
        engine.dispose()


@contextmanager
def _place_works(place: Place) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UnavailableError(
            f"Cannot use {place}: {why}. What was written so far is not taken for a backup."
        ) from error


def _settings() -> Settings:
    found = Settings()
    home = found.home.expanduser().absolute()
    if not home.is_dir() and found.database_url is None:
        raise InvalidError(f"There is no folder {home}: make it, or name the site's with PREFLOOP_HOME.")
    return found.model_copy(update={"home": home})


def _said(taken: Taken) -> str:
    manifest = taken.manifest
    lines = [f"Backed up as {manifest.id}: {_contents(manifest)}, of which {_mib(taken.added)} are new to the place."]
    lines += [f"Not in the backup: {one}." for one in manifest.lost]
    lines += [
        f"Not in the backup: the base model {one}, which lies elsewhere. Keep a copy." for one in manifest.elsewhere
    ]
    return "\n".join(lines)


def _line(manifest: Manifest) -> str:
    return f"{manifest.id}  {manifest.made:%Y-%m-%d %H:%M:%S} UTC  schema {manifest.revision}  {_contents(manifest)}"


def _told(restored: Restored) -> str:
    manifest = restored.manifest
    before, now = manifest.revision, restored.revision
    newer = "" if now == before else f"; the schema went from {before} to {now}"
    return f"Restored {manifest.id}: {_contents(manifest)}{newer}. Start the site as usual."


def _contents(manifest: Manifest) -> str:
    return f"{manifest.rows} rows and {len(manifest.files)} files, {_mib(manifest.size)}"


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
