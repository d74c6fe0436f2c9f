"""Where the files beside the code lie: at the repository's root in a checkout, inside this package in the wheel."""

from pathlib import Path

HERE = Path(__file__).parent


def folder(name: str) -> Path:
    """The folder `templates` or `static`.

    Raises: FileNotFoundError if the installation lacks it.
    """
    for place in (HERE / name, HERE.parent / name):
        if place.is_dir():
            return place
    raise FileNotFoundError(f"The folder {name}/ is missing beside {HERE}: install Prefloop again.")


def data(name: str) -> Path:
    """A folder of `app/data/`."""
    return HERE / "data" / name
