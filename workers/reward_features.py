"""Pooled hidden states of the reference, computed once per sample and kept on disk.

A frozen reward model sees a sample only through these, so refitting one takes seconds however often labels come in.
"""

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from workers.nets.language_model import LanguageModel
from workers.nets.precision import autocast
from workers.nets.reward_model import Read, branch_features
from workers.nets.tokenizer import PAD_ID
from workers.reward_labels import EncodedSample
from workers.safetensors_writer import write_safetensors

ROWS = 32
"""Samples per forward pass."""
MOST_BRANCHES = 8
"""Samples of one query that share a pass; attention among more of them costs more than it spares."""
MAX_BYTES = 2 * 2**30
KEY_BYTES = 32

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddedSamples:
    """Samples of different lengths as one batch."""

    queries: Tensor
    """(n, q) int64, left-padded."""
    query_mask: Tensor
    """(n, q) bool."""
    responses: Tensor
    """(n, r) int64, right-padded."""
    response_mask: Tensor
    """(n, r) bool."""

    def branches(self, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, responses and their masks where each k rows in turn have one query: (n / k, q) and (n / k, k, r)."""
        responses, response_mask = (one.unflatten(0, (-1, k)) for one in (self.responses, self.response_mask))
        return self.queries[::k], self.query_mask[::k], responses, response_mask


def pad(samples: Sequence[EncodedSample], device: torch.device) -> PaddedSamples:
    """Samples as a batch. Raises: ValueError if a query or response is empty."""
    if empty := [i for i, sample in enumerate(samples) if not sample.query or not sample.response]:
        raise ValueError(f"samples {empty} have no query or no response")
    queries, query_mask = _padded([sample.query[::-1] for sample in samples])
    responses, response_mask = _padded([sample.response for sample in samples])
    return PaddedSamples(
        queries=queries.flip(1).to(device),
        query_mask=query_mask.flip(1).to(device),
        responses=responses.to(device),
        response_mask=response_mask.to(device),
    )


def batches(samples: Sequence[EncodedSample], rows: int = ROWS) -> Iterator[tuple[list[int], int]]:
    """Indices of the samples in batches, each k in turn of one query, so that a query is read once for k samples.

    Batches are of similar length, so that little of one is padding.
    """
    same: dict[tuple[int, ...], list[int]] = {}
    for i, sample in enumerate(samples):
        same.setdefault(sample.query, []).append(i)
    parts = [
        group[start : start + MOST_BRANCHES] for group in same.values() for start in range(0, len(group), MOST_BRANCHES)
    ]
    for k in sorted({len(part) for part in parts}):
        alike = [part for part in parts if len(part) == k]
        alike.sort(key=lambda part: len(samples[part[0]].query) + max(len(samples[i].response) for i in part))
        at_once = max(1, rows // k)
        for start in range(0, len(alike), at_once):
            yield [i for part in alike[start : start + at_once] for i in part], k


def compute_features(
    trunk: LanguageModel, samples: Sequence[EncodedSample], reads: Sequence[Read], *, bf16: bool
) -> Tensor:
    """(n, len(reads), width) float32 on the CPU: what heads with these reads see, from one pass per sample."""
    features = torch.empty(len(samples), len(reads), trunk.width)
    with torch.inference_mode():
        for rows, k in batches(samples):
            padded = pad([samples[i] for i in rows], trunk.device)
            with autocast(trunk.device, bf16):
                pooled = branch_features(trunk, *padded.branches(k), reads)
            features[rows] = torch.stack(pooled, dim=1).cpu()
    return features


class FeatureCache:
    """Features by sample and read, in shards below one folder; shards are mapped, so memory follows use.

    The oldest shards go when the folder outgrows `max_bytes`. Losing any of it costs time only.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._index: dict[Path, dict[bytes, Tensor]] = {}
        self._read: set[Path] = set()
        """Shards that are in the index."""

    def features(
        self,
        trunk: LanguageModel,
        reference_digest: str,
        samples: Sequence[EncodedSample],
        reads: Sequence[Read],
        *,
        bf16: bool = False,
    ) -> Tensor:
        """(n, len(reads), width) float32 on the CPU, as `compute_features`; only what is new is computed.

        Args:
            trunk: the reference whose weights `reference_digest` names.
        """
        folders = [self._folder / _space(reference_digest, read, bf16) for read in reads]
        keys = [sample.key for sample in samples]
        known = [self._known(folder, keys) for folder in folders]
        wanting = [place for place, found in enumerate(known) if any(key not in found for key in keys)]
        fresh = {
            key: sample
            for key, sample in zip(keys, samples, strict=True)
            if any(key not in known[place] for place in wanting)
        }
        if fresh:
            computed = compute_features(trunk, list(fresh.values()), [reads[place] for place in wanting], bf16=bf16)
            for place, features in zip(wanting, computed.unbind(dim=1), strict=True):
                known[place] |= dict(zip(fresh, features, strict=True))
                self._write_shard(folders[place], list(fresh), features.contiguous())
        return torch.stack([torch.stack([found[key] for key in keys]) for found in known], dim=1)

    def _known(self, folder: Path, keys: Sequence[bytes]) -> dict[bytes, Tensor]:
        known = self._index.setdefault(folder, {})
        if any(key not in known for key in keys):
            for path in set(folder.glob("*.safetensors")) - self._read:
                known |= _read_shard(path)
                self._read.add(path)
        return known

    def _write_shard(self, folder: Path, keys: Sequence[bytes], features: Tensor) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        rows = torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8).view(-1, KEY_BYTES)
        name = uuid.uuid4().hex
        written = folder / f".{name}.tmp"
        try:
            write_safetensors(written, {"keys": rows, "features": features})
            written.rename(folder / f"{name}.safetensors")
        except OSError as error:  # a full disk: whoever cannot do without it will say so
            log.warning("features not kept", reason=error.strerror)
            written.unlink(missing_ok=True)
            return
        self._trim()

    def _trim(self) -> None:
        shards = sorted(self._folder.glob("*/*"), key=lambda path: path.stat().st_mtime)
        excess = sum(path.stat().st_size for path in shards) - self._max_bytes
        for path in shards:
            if excess <= 0:
                return
            excess -= path.stat().st_size
            path.unlink(missing_ok=True)
            self._index.clear()
            self._read.clear()


def _space(reference_digest: str, read: Read, bf16: bool) -> str:
    """Folder of all features that mean the same."""
    meaning = repr((reference_digest, read.layer, read.pooling.value, bf16))
    return hashlib.sha256(meaning.encode()).hexdigest()[:32]


def _read_shard(path: Path) -> dict[bytes, Tensor]:
    try:
        shard = load_file(path)
    except (OSError, SafetensorError):  # trimmed by another process, or cut short by a crash
        return {}
    return dict(zip((row.tobytes() for row in shard["keys"].numpy()), shard["features"], strict=True))


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[PAD_ID] * (longest - len(row))] for row in rows])
    return ids, torch.arange(longest) < torch.tensor([len(row) for row in rows]).unsqueeze(1)
