"""Rows of Hugging Face data sets: from the hub, as a stream, or from a folder."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub.errors import HfHubHTTPError

from app.errors import InvalidError, UnavailableError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)


def is_hub_id(name: str) -> bool:
    """Whether a name could be a data set of the hub."""
    return _HUB_ID.fullmatch(name) is not None


def read(source: str, *, subset: str | None, split: str) -> Iterator[dict[str, Any]]:
    """Rows of one split.

    Raises: InvalidError without such a data set, subset or split; UnavailableError if the hub does not answer.
    """
    try:
        yield from _opened(source, subset, split)
    except ConnectionError as error:
        raise UnavailableError(
            f"The Hugging Face hub does not give {source} ({_first_line(error)}): check the network, or give a folder."
        ) from error
    except HfHubHTTPError as error:  # in the midst of the rows
        said = f"The Hugging Face hub does not give {source} ({_first_line(error)})"
        if error.response.status_code in (401, 403, 404):
            raise InvalidError(f"{said}: set HF_TOKEN to a token that may read it, where the import runs.") from error
        raise UnavailableError(f"{said}: try again later.") from error
    except (ValueError, FileNotFoundError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise InvalidError(f"{source} cannot be read as a data set: {_first_line(error)}.") from error


def _opened(source: str, subset: str | None, split: str) -> Any:
    """What iterates over rows: memory-mapped where `save_to_disk` wrote it, else a stream."""
    folder = Path(source).expanduser()
    if not folder.is_dir():
        return datasets.load_dataset(source, subset, split=split, streaming=True)
    if (folder / "dataset_dict.json").exists():
        found = datasets.load_from_disk(str(folder))
        if split not in found:
            raise InvalidError(f"{source} has no split {split}: choose one of {', '.join(found)}.")
        return found[split]
    if (folder / "state.json").exists():
        return datasets.load_from_disk(str(folder))
    return datasets.load_dataset(str(folder), subset, split=split, streaming=True)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
