"""The backups of a place: which there are, whether they are whole, and the removal of old ones."""

from collections.abc import Iterable, Iterator

from app.backup.manifest import BACKUPS, FILES, NAME, Damage, File, Manifest, Table
from app.backup.place import UNFINISHED, Place
from app.errors import NotFoundError


def backups(place: Place) -> list[str]:
    """Names of the finished ones, oldest first."""
    return sorted(name.removesuffix(f"/{NAME}") for name in place.sizes(BACKUPS) if name.endswith(f"/{NAME}"))


def newest(place: Place) -> str:
    """Raises: NotFoundError if there is none."""
    found = backups(place)
    if not found:
        raise NotFoundError(f"There is no backup in {place}: `prefloop backup {place}` makes one.")
    return found[-1]


def examine(place: Place, manifest: Manifest) -> Iterator[Damage]:
    """Read every byte of a backup; what is not as it was written."""
    sizes = place.sizes("")
    for name, part, what in _parts(manifest):
        fact = _fact(place, name, part, sizes)
        if fact is not None:
            yield Damage(name=name, what=what, fact=fact)


def remove_all_but(place: Place, keep: int) -> list[str]:
    """Remove all but the newest `keep` backups, and files that no backup names any more; the removed ones."""
    every = backups(place)
    going = every[: max(0, len(every) - keep)]
    staying = [Manifest.read(place, name) for name in every[len(going) :]]  # before anything goes: it must be readable
    for name in going:
        place.remove(f"{BACKUPS}/{name}/{NAME}")
        place.remove_folder(f"{BACKUPS}/{name}")
    named = {file.sha256 for manifest in staying for file in manifest.files}
    for sha256 in place.sizes(FILES).keys() - named:
        place.remove(f"{FILES}/{sha256}")
    return going


def remove_unfinished(place: Place) -> None:
    """Remove what a killed backup left half-done."""
    place.remove_folder(UNFINISHED)
    finished = set(backups(place))
    for name in {name.split("/", 1)[0] for name in place.sizes(BACKUPS)} - finished:
        place.remove_folder(f"{BACKUPS}/{name}")


def _parts(manifest: Manifest) -> Iterable[tuple[str, Table | File, str]]:
    for table in manifest.tables:
        yield manifest.name_of(table), table, f"rows of {table.name}"
    for sha256, file in {file.sha256: file for file in manifest.files}.items():
        yield f"{FILES}/{sha256}", file, file.path


def _fact(place: Place, name: str, part: Table | File, sizes: dict[str, int]) -> str | None:
    if name not in sizes:
        return "is missing"
    if sizes[name] != part.size:
        return f"has {sizes[name]} bytes instead of {part.size}"
    return None if place.sha256(name) == part.sha256 else "has been changed"
