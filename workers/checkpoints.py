"""Checkpoints on disk: content-addressed folders of safetensors files, whole or absent.

root/<digest>/manifest.json        kind, meta, library versions, size and sha256 of each file
root/<digest>/<name>.safetensors   tensors by name
root/<digest>/<other name>         small files that other programs want beside the tensors
root/.tmp-*                        being written or deleted; swept once its process is gone

CheckpointError
├── StoreFullError                 the disk has no room; nothing was written
└── LostCheckpointError            it cannot be had as it was saved
    ├── MissingCheckpointError     no such digest here
    └── CorruptCheckpointError     the files are not what the digest promises
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Generator, Tensor
from torch.optim import Optimizer

from app.checkpoint_files import MANIFEST, SUFFIX, digest_of, files_of
from workers.safetensors_writer import encoded_size, write_safetensors
from workers.sharding import split_as

RESERVE_BYTES = 512 * 2**20
"""Left free on the disk, so that a database on it goes on taking labels."""
LEFTOVER_SECONDS = 60.0
"""A temporary folder younger than this may belong to a process that has not locked it yet."""
LIBRARIES = ("torch", "transformers", "safetensors")

_TEMPORARY = ".tmp-"
_FILE_NAME = re.compile(r"[a-z0-9_]{1,64}")
_EXTRA_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")

TensorFiles = dict[str, dict[str, Tensor]]
"""File name without suffix -> tensor name -> tensor."""


class CheckpointError(Exception):
    """Something about a checkpoint is not as it must be; the message says what to do."""


class StoreFullError(CheckpointError):
    """The disk has no room; nothing was written."""


class LostCheckpointError(CheckpointError):
    """It cannot be had as it was saved."""

    def __init__(self, fact: str) -> None:
        super().__init__(f"{fact}: restore it from a copy, or start a new run")
        self.fact = fact
        """Without the advice."""


class MissingCheckpointError(LostCheckpointError):
    """No such digest here."""


class CorruptCheckpointError(LostCheckpointError):
    """The files are not what the digest promises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """One checkpoint."""

    kind: str
    tensors: TensorFiles
    """Mapped from the files: a page is read when touched, and writing to a tensor does not change the file."""
    meta: dict[str, Any]
    """As saved, after a round trip through JSON."""
    folder: Path
    """Where the files lie; only to be read."""


class CheckpointStore:
    """Checkpoints below one folder. Safe for several processes; every method leaves whole checkpoints only."""

    def __init__(self, root: Path, *, reserve_bytes: int = RESERVE_BYTES) -> None:
        self.root = root
        self._reserve_bytes = reserve_bytes
        root.mkdir(parents=True, exist_ok=True)

    def save(
        self,
        kind: str,
        tensors: Mapping[str, Mapping[str, Tensor]],
        meta: Mapping[str, Any],
        extras: Mapping[str, bytes] | None = None,
    ) -> str:
        """Write one checkpoint and wait until the disk has it.

        Args:
            kind: what it is, for whoever loads it.
            tensors: file name without suffix ([a-z0-9_]) -> tensor name -> tensor of any dtype and device; one that
                several names of a file share, as tied weights do, is written once.
            meta: JSON values.
            extras: whole file name -> content of small files to lie beside the tensors.
        Returns: 64 hex digits that depend on the arguments alone; equal content is stored once.
        Raises: StoreFullError; ValueError on a bad file name or meta that is not JSON.
        """
        extras = extras or {}
        _check_names(tensors, extras)
        meta_json = json.loads(json.dumps(dict(meta), allow_nan=False))
        self.sweep()
        shared = {name: _shared(file) for name, file in tensors.items()}
        distinct = {
            name: {key: tensors[name][key] for key in tensors[name] if key not in shared[name]}
            for name in sorted(shared)
        }
        self._require_room(sum(map(encoded_size, distinct.values())) + sum(map(len, extras.values())))
        with self._temporary() as folder, _full_disk_is_clear(self.root):
            files = {
                name: {**write_safetensors(folder / (name + SUFFIX), file)._asdict(), "shared": shared[name]}
                for name, file in distinct.items()
            }
            content = {"kind": kind, "meta": meta_json, "files": files}
            if extras:  # else nothing, as before there were any: the digests of old checkpoints stay what they are
                content["extras"] = {name: _write_synced(folder / name, extras[name]) for name in sorted(extras)}
            digest = digest_of(content)
            libraries = {name: version(name) for name in LIBRARIES}
            _write_synced(folder / MANIFEST, json.dumps({**content, "libraries": libraries}, indent=1).encode())
            _sync_folder(folder)
            self._publish(folder, digest)
        return digest

    def load_checked(self, digest: str) -> Loaded:
        """`load` after `verify`: reads every byte first, as whoever uses all of it will do anyway."""
        self.verify(digest)
        return self.load(digest)

    def load(self, digest: str) -> Loaded:
        """Map one checkpoint into memory; the sums are not checked, see `verify`.

        Raises: MissingCheckpointError; CorruptCheckpointError if a file is missing or cut short.
        """
        manifest = self.manifest(digest)
        folder = self.root / digest
        for name, written in manifest.get("extras", {}).items():
            if not (folder / name).is_file() or (folder / name).stat().st_size != written["size"]:
                raise CorruptCheckpointError(f"checkpoint {digest} in {self.root} lacks {name}, or has it cut short")
        try:
            tensors = {name: load_file(folder / (name + SUFFIX)) for name in manifest["files"]}
            for name, file in tensors.items():
                file |= {key: file[first] for key, first in manifest["files"][name]["shared"].items()}
        except (OSError, safetensors.SafetensorError) as error:
            raise CorruptCheckpointError(f"checkpoint {digest} in {self.root} cannot be read ({error})") from error
        return Loaded(kind=manifest["kind"], tensors=tensors, meta=manifest["meta"], folder=folder)

    def manifest(self, digest: str) -> dict[str, Any]:
        """What was written beside the tensors: kind, meta, files with size, sum and shared names, libraries.

        Raises: MissingCheckpointError; CorruptCheckpointError if it is not the manifest of that digest.
        """
        if not _DIGEST.fullmatch(digest):
            raise MissingCheckpointError(f"{digest!r} is no checkpoint: 64 hex digits expected")
        try:
            manifest: dict[str, Any] = json.loads(self._manifest_bytes(digest))
        except FileNotFoundError as error:
            raise MissingCheckpointError(f"no checkpoint {digest} in {self.root}") from error
        except ValueError as error:
            raise CorruptCheckpointError(f"checkpoint {digest} in {self.root} has no readable manifest") from error
        if digest_of(manifest) != digest:
            raise CorruptCheckpointError(f"the manifest of checkpoint {digest} in {self.root} was changed")
        return manifest

    def age(self, digest: str) -> float:
        """Seconds since it was saved; 0 if it is gone."""
        try:
            return time.time() - (self.root / digest).stat().st_mtime
        except FileNotFoundError:  # another removal was faster
            return 0.0

    def _manifest_bytes(self, digest: str) -> bytes:
        return (self.root / digest / MANIFEST).read_bytes()

    def verify(self, digest: str) -> None:
        """Read every byte. Raises: MissingCheckpointError; CorruptCheckpointError naming the file that differs."""
        for name, written in files_of(self.manifest(digest)).items():
            path = self.root / digest / name
            if _sha256_of(path) != written["sha256"]:
                raise CorruptCheckpointError(f"{path} is not what was saved")

    def size(self, digest: str) -> int:
        """Bytes on disk. Raises: MissingCheckpointError; CorruptCheckpointError."""
        return sum(written["size"] for written in files_of(self.manifest(digest)).values())

    def delete(self, digest: str) -> None:
        """Remove one checkpoint at once; who has it loaded keeps it. Unknown digests are nothing to do."""
        if not _DIGEST.fullmatch(digest) or not (self.root / digest).exists():
            return
        with self._temporary() as folder:
            (self.root / digest).rename(folder / digest)

    def digests(self) -> set[str]:
        """All checkpoints here."""
        return {path.name for path in self.root.iterdir() if _DIGEST.fullmatch(path.name)}

    def sweep(self) -> None:
        """Remove what killed processes left half-done; folders of living ones are locked and stay."""
        for folder in self.root.glob(_TEMPORARY + "*"):
            try:
                old = time.time() - folder.stat().st_mtime > LEFTOVER_SECONDS
                held = _lock(folder)
            except FileNotFoundError:  # its owner was faster
                continue
            if held is not None:
                if old:
                    shutil.rmtree(folder, ignore_errors=True)
                os.close(held)

    def _require_room(self, needed: int) -> None:
        free = shutil.disk_usage(self.root).free
        if free < needed + self._reserve_bytes:
            raise StoreFullError(
                f"no room for a checkpoint of {needed / 2**20:.0f} MiB in {self.root}: {free / 2**20:.0f} MiB free, of "
                f"which {self._reserve_bytes / 2**20:.0f} MiB stay reserved. Free some space; the work goes on from "
                "the last checkpoint."
            )

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        """A locked folder on the store's file system, removed at the end unless it was renamed."""
        folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=self.root))
        held = _lock(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if held is not None:
                os.close(held)

    def _publish(self, folder: Path, digest: str) -> None:
        folder.chmod(0o755)
        try:
            folder.rename(self.root / digest)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return  # equal content is here already
        _sync_folder(self.root)


def pack_optimizer(optimizer: Optimizer, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The optimizer's state as tensors: `<param>/<key>` for each state tensor, `step/<i>` for each group that counts.

    Args:
        params: name -> parameter, all that the optimizer holds. Learning rates are not packed: schedules set them.
    """
    packed = {
        f"{name}/{key}": value
        for name, param in params.items()
        for key, value in optimizer.state.get(param, {}).items()
        if isinstance(value, Tensor)
    }
    steps = {f"step/{i}": torch.tensor(g["step"]) for i, g in enumerate(optimizer.param_groups) if "step" in g}
    return {**packed, **steps}


def unpack_optimizer(optimizer: Optimizer, params: Mapping[str, Tensor], packed: Mapping[str, Tensor]) -> None:
    """Put back what `pack_optimizer` took, into an optimizer built the same way over `params`.

    Raises: ValueError if `packed` names a parameter or group that is not here.
    """
    for key, value in packed.items():
        name, _, part = key.rpartition("/")
        if name == "step" and int(part) < len(optimizer.param_groups):
            optimizer.param_groups[int(part)]["step"] = int(value)
        elif name in params:
            # Adam counts on the CPU whatever the parameter's device.
            device = value.device if value.dim() == 0 else params[name].device
            like = params[name] if value.dim() else value
            optimizer.state[params[name]][part] = split_as(like, value).to(device, copy=True)
        else:
            raise ValueError(f"the saved optimizer state has {key!r}, which this model lacks: another model's state?")


def pack_generator(generator: Generator) -> Tensor:
    """State of a random generator, uint8."""
    return generator.get_state()


def unpack_generator(generator: Generator, packed: Tensor) -> None:
    """Go on where the packed generator stood; both must live on the same kind of device."""
    generator.set_state(packed.cpu().clone())


def _check_names(tensors: Iterable[str], extras: Iterable[str]) -> None:
    for name in tensors:
        if not _FILE_NAME.fullmatch(name):
            raise ValueError(f"file name {name!r}: 1 to 64 of a-z, 0-9 and _ expected")
    for name in extras:
        if not _EXTRA_NAME.fullmatch(name) or name == MANIFEST or name.endswith(SUFFIX):
            raise ValueError(f"file name {name!r} beside the tensors: letters, digits, _ - . expected")


def _shared(file: Mapping[str, Tensor]) -> dict[str, str]:
    """Names whose tensor another, first name has: that name."""
    firsts: dict[object, str] = {}
    shared: dict[str, str] = {}
    for name in sorted(file):
        tensor = file[name]
        place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        first = firsts.setdefault(place, name)
        if tensor.numel() and first != name:
            shared[name] = first
    return shared


def _sha256_of(path: Path) -> str | None:
    """None of a file that is not there or that the disk cannot read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _lock(folder: Path) -> int | None:
    """An open, exclusively locked descriptor of `folder`, or None while another one holds the lock."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _write_synced(path: Path, content: bytes) -> dict[str, Any]:
    """Size and sha256 of what was written."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _full_disk_is_clear(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise StoreFullError(
            f"{root} ran full while a checkpoint was written. Free some space; the work goes on from the last one."
        ) from error
