"""A checkpoint store that several machines share: a place that fsspec opens, with a folder of each machine before it.

place/<digest>/...        the files of `workers.checkpoints`, the manifest last: where it is, all of them are
folder                    whole copies of what this machine has saved or read

Digests name content, so a copy never grows old; one that was removed at the place goes here too, an hour later.
Trainers on many hosts need nothing else of each other's disks.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from torch import Tensor

from app.checkpoint_files import MANIFEST
from workers.checkpoints import (
    CheckpointError,
    CheckpointStore,
    CorruptCheckpointError,
    Loaded,
    MissingCheckpointError,
)

UNSHARED_SECONDS = 3600.0
"""A copy that the place does not have is on its way there for at most so long; after that it was removed there."""


class StoreUnreachableError(CheckpointError):
    """The place cannot be read or written just now."""


def open_store(folder: Path, url: str | None) -> CheckpointStore:
    """The store of a machine: `folder` alone, or before the shared place at `url`."""
    return CheckpointStore(folder) if url is None else SharedStore(folder, url)


class SharedStore(CheckpointStore):
    """What is saved is at the place before `save` returns; what is read is fetched once and checked as it comes.

    Args:
        root: folder of this machine.
        url: such as `s3://bucket/prefloop`; credentials and endpoint come from where its library looks for them.
    """

    def __init__(self, root: Path, url: str) -> None:
        super().__init__(root)
        self._url = url
        with self._reaching():
            self._fs, place = fsspec.url_to_fs(url, use_listings_cache=False)
        self._place = place.rstrip("/")

    def save(
        self,
        kind: str,
        tensors: Mapping[str, Mapping[str, Tensor]],
        meta: Mapping[str, Any],
        extras: Mapping[str, bytes] | None = None,
    ) -> str:
        """As the folder's, and at the place too. Raises: StoreUnreachableError; the next attempt goes on from there."""
        digest = super().save(kind, tensors, meta, extras)
        with self._reaching():
            self._share(digest)
        return digest

    def load(self, digest: str) -> Loaded:
        """As the folder's, fetched if it is not there. Raises: StoreUnreachableError too."""
        self._have(digest)
        return super().load(digest)

    def verify(self, digest: str) -> None:
        """As the folder's; a copy that is broken is fetched once more."""
        self._have(digest)
        try:
            super().verify(digest)
        except CorruptCheckpointError:
            super().delete(digest)
            self._have(digest)
            super().verify(digest)

    def age(self, digest: str) -> float:
        """Since it was shared; of one that is on its way there, since it was saved."""
        with self._reaching():
            if not self._fs.exists(self._at(digest, MANIFEST)):
                return super().age(digest)
            return time.time() - float(self._fs.modified(self._at(digest, MANIFEST)).timestamp())

    def delete(self, digest: str) -> None:
        """Here and at the place, for all machines."""
        with self._reaching():
            for name in (MANIFEST, ""):  # without its manifest it counts as gone
                if self._fs.exists(self._at(digest, name)):
                    self._fs.rm(self._at(digest, name), recursive=not name)
        super().delete(digest)

    def digests(self) -> set[str]:
        """All checkpoints at the place and here."""
        return self._shared() | super().digests()

    def sweep(self) -> None:
        """As the folder's; copies of what was removed at the place go too."""
        super().sweep()
        here = super().digests()
        old = {one for one in here if time.time() - (self.root / one).stat().st_mtime > UNSHARED_SECONDS}
        for digest in old - self._shared() if old else ():
            super().delete(digest)

    def _shared(self) -> set[str]:
        with self._reaching():
            found = self._fs.glob(f"{self._place}/*/{MANIFEST}")
        return {path.rsplit("/", 2)[-2] for path in found}

    def _share(self, digest: str) -> None:
        if self._fs.exists(self._at(digest, MANIFEST)):
            return
        names = sorted(path.name for path in (self.root / digest).iterdir())
        self._fs.makedirs(self._at(digest), exist_ok=True)
        for name in (*(name for name in names if name != MANIFEST), MANIFEST):
            self._fs.put_file(str(self.root / digest / name), self._at(digest, name))

    def _manifest_bytes(self, digest: str) -> bytes:
        if (self.root / digest / MANIFEST).exists():
            return super()._manifest_bytes(digest)
        with self._reaching():
            if not self._fs.exists(self._at(digest, MANIFEST)):
                raise MissingCheckpointError(f"no checkpoint {digest} in {self.root} or at {self._url}")
            return bytes(self._fs.cat_file(self._at(digest, MANIFEST)))

    def _have(self, digest: str) -> None:
        if (self.root / digest / MANIFEST).exists():
            return
        content = self.manifest(digest)
        files = {f"{name}.safetensors": one for name, one in content["files"].items()} | content.get("extras", {})
        self._require_room(sum(one["size"] for one in files.values()))
        with self._temporary() as folder:
            for name, written in {**files, MANIFEST: None}.items():
                with self._reaching():
                    self._fs.get_file(self._at(digest, name), str(folder / name))
                if written is not None and _sha256(folder / name) != written["sha256"]:
                    raise CorruptCheckpointError(f"{name} of checkpoint {digest} at {self._url} is not what was saved")
            self._publish(folder, digest)

    def _at(self, *parts: str) -> str:
        return "/".join((self._place, *(part for part in parts if part)))

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except CheckpointError:
            raise
        except Exception as error:  # each library has errors of its own
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            advice = "Look at PREFLOOP_STORE, its credentials and its network."
            raise StoreUnreachableError(f"The store {self._url} does not answer ({why}). {advice}") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
