"""Writes safetensors files in one pass over the tensors' own memory, with their sha256.

The library's `save_file` copies every tensor first and leaves the hash to a second pass over the file; at 1.6 GB that
is most of the time of saving a training state. Reading is the library's.
Source: the format's description at https://github.com/huggingface/safetensors.
"""

import errno
import fcntl
import hashlib
import json
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK_BYTES = 16 * 2**20
ALIGNMENT = 8
METADATA = {"format": "pt"}
"""Told by every file: other libraries ask for it."""

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class Written(NamedTuple):
    """One file."""

    size: int
    """Bytes."""
    sha256: str
    """Hex."""


def encoded_size(tensors: Mapping[str, Tensor]) -> int:
    """Bytes that `write_safetensors` will write."""
    return len(_header(_ordered(tensors))) + sum(t.nbytes for t in tensors.values())


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> Written:
    """Write and sync one file; equal names and tensors give equal bytes, whatever their order.

    Args:
        tensors: of any device and the dtypes of `DTYPES`; tensors that share memory are written separately.
    Raises: ValueError on another dtype; OSError.
    """
    digest = hashlib.sha256()
    size = 0
    descriptor = _open_direct(path)
    try:
        with ThreadPoolExecutor(max_workers=1) as hasher:
            hashing: Future[None] | None = None
            for block in _blocks(_chunks(_ordered(tensors))):
                if hashing is not None:  # its buffer is the next to be filled
                    hashing.result()
                hashing = hasher.submit(digest.update, block)
                _write_padded(descriptor, block)
                size += len(block)
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return Written(size, digest.hexdigest())


def _ordered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Widest dtype first, so that every tensor starts at a multiple of its item size; then by name."""
    return dict(sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])))


def _header(ordered: Mapping[str, Tensor]) -> bytes:
    entries: dict[str, dict[str, object]] = {"__metadata__": dict(METADATA)}
    start = 0
    for name, tensor in ordered.items():
        if tensor.dtype not in DTYPES:
            raise ValueError(f"tensor {name!r} has dtype {tensor.dtype}; known are {', '.join(map(str, DTYPES))}")
        end = start + tensor.nbytes
        entries[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _chunks(ordered: Mapping[str, Tensor]) -> Iterator[memoryview]:
    yield memoryview(_header(ordered))
    for tensor in ordered.values():
        yield tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _blocks(chunks: Iterable[memoryview]) -> Iterator[memoryview]:
    """The same bytes in blocks of BLOCK_BYTES, the last one shorter; a block lives until the next but one is asked."""
    buffers = [memoryview(mmap.mmap(-1, BLOCK_BYTES)) for _ in range(2)]  # mmap: aligned to pages, as O_DIRECT asks
    filled = 0
    for chunk in chunks:
        while chunk:
            part = min(len(chunk), BLOCK_BYTES - filled)
            buffers[0][filled : filled + part] = chunk[:part]
            chunk, filled = chunk[part:], filled + part
            if filled == BLOCK_BYTES:
                yield buffers[0]
                buffers.reverse()
                filled = 0
    if filled:
        yield buffers[0][:filled]


def _open_direct(path: Path) -> int:
    """Past the page cache where the file system can: filling gigabytes of it anew costs several times the write."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        return os.open(path, flags | getattr(os, "O_DIRECT", 0), 0o644)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        path.unlink(missing_ok=True)
        return os.open(path, flags, 0o644)


def _write_padded(descriptor: int, block: memoryview) -> None:
    """Write a block rounded up to whole pages, as O_DIRECT asks; the caller cuts the file."""
    whole = memoryview(block.obj)[: -(-len(block) // mmap.PAGESIZE) * mmap.PAGESIZE]
    while whole:
        try:
            written = os.write(descriptor, whole)
        except OSError as error:  # a limit on the file's size may leave room for a part of a page
            if error.errno != errno.EINVAL or not _leave_direct(descriptor):
                raise
            continue
        if written % mmap.PAGESIZE:  # the disk is nearly full; the rest no longer starts at a page
            _leave_direct(descriptor)
        whole = whole[written:]


def _leave_direct(descriptor: int) -> bool:
    """Go through the page cache from now on; False if that was so already."""
    flags, direct = fcntl.fcntl(descriptor, fcntl.F_GETFL), getattr(os, "O_DIRECT", 0)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~direct)
    return bool(flags & direct)
