"""Labels out: a file in bounded memory, and a manifest that says what it is and how to check it."""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import pyarrow
import pyarrow.parquet

from app import exports, guidelines, runs, transfers
from app.errors import ConflictError
from app.jobs import wake_run
from app.orders import ExportOrder, LabelFormat
from workers import fencing
from workers.transfers.errand import Errand

NOTED = 10_000
"""Records between two notes of the progress."""
ROWS = 1_000
"""Of a Parquet row group."""
NAMES = {LabelFormat.PARQUET: "labels.parquet", LabelFormat.IDS: "labels.json"}
SAMPLE = pyarrow.struct(
    [
        *((name, pyarrow.string()) for name in ("id", "text")),
        ("token_ids", pyarrow.list_(pyarrow.int32())),
        *((name, pyarrow.string()) for name in ("policy", "policy_kind")),
        ("policy_number", pyarrow.int32()),
        *((name, pyarrow.string()) for name in ("policy_name", "policy_digest")),
        ("temperature", pyarrow.float64()),
        ("seed", pyarrow.int64()),
        ("sampled_tokens", pyarrow.int32()),
        ("valid", pyarrow.bool_()),
        ("rejected_before", pyarrow.int32()),
    ]
)
AS_JSON = ("answers", "prompt_info", "origin", "imported")
"""Columns whose members differ from label to label: JSON text in Parquet."""
KINDS = {
    "revision": pyarrow.int32(),
    "current": pyarrow.bool_(),
    "surplus": pyarrow.bool_(),
    "strength": pyarrow.int32(),
    "milliseconds": pyarrow.int32(),
    "guideline_version": pyarrow.int32(),
    "promotion": pyarrow.int32(),
    "samples": pyarrow.list_(SAMPLE),
}
COLUMNS = (
    *("label", "revision", "current", "surplus", "verdict", "choice", "reason", "strength", "answers"),
    *("milliseconds", "shown_at", "created_at", "labeler", "guideline_version", "comparison", "purpose", "promotion"),
    *("serving_policy", "prompt_id", "prompt", "split", "reference", "prompt_info", "samples", "origin", "imported"),
)
SCHEMA = pyarrow.schema([(name, KINDS.get(name, pyarrow.string())) for name in COLUMNS])


def export_labels(errand: Errand, encode: exports.Encode | None = None) -> None:
    """Do an export job. One that was killed starts anew: its half-written file is overwritten.

    Args:
        encode: token ids of a prompt, for the form of ids.
    """
    order = ExportOrder.model_validate(errand.claim.args["order"])
    folder = transfers.folder_of(errand.home, errand.claim.job_id)
    folder.mkdir(parents=True, exist_ok=True)
    name = NAMES.get(order.format, "labels.jsonl")
    count = _write(errand, order, folder / name, encode)
    manifest = _manifest(errand, order, folder / name, count)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    files = [*manifest["files"], described(folder / "manifest.json")]
    with errand.transaction() as session:
        fencing.finish(session, errand.claim, {"records": count, "format": order.format, "files": files})
        wake_run(session, errand.claim.run_id)


def described(path: Path) -> dict[str, Any]:
    """Name, size and sha256 of a file."""
    with path.open("rb") as file:
        return {
            "name": path.name,
            "bytes": path.stat().st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


def _write(errand: Errand, order: ExportOrder, path: Path, encode: exports.Encode | None) -> int:
    half = path.with_name(f".{path.name}.part")
    with errand.transaction() as session, half.open("wb") as file:
        task = runs.hparams_of(runs.get(session, errand.claim.run_id)).task
        lengths = (task.query_tokens, task.response_tokens)
        found = exports.records(session, errand.claim.run_id, order.format, order.scope, encode=encode, lengths=lengths)
        count = WRITERS.get(order.format, _write_lines)(file, _counted(errand, found), order.format)
    half.replace(path)
    return count


def _counted(errand: Errand, found: Iterator[exports.Record]) -> Iterator[exports.Record]:
    """The same records; says now and then how far they are, and stops when the job belongs to another."""
    for number, record in enumerate(found, start=1):
        yield record
        if number % NOTED == 0:
            if errand.should_stop():
                raise ConflictError("The export was stopped; it starts anew.")
            with errand.transaction() as session:
                errand.note(session, {"records": number})


def _write_lines(file: BinaryIO, found: Iterator[exports.Record], form: LabelFormat) -> int:
    count = 0
    for record in found:
        file.write(exports.line(record, form))
        count += 1
    return count


def _write_array(file: BinaryIO, found: Iterator[exports.Record], _: LabelFormat) -> int:
    """As `json.dump` writes a list, without holding it."""
    count = 0
    file.write(b"[")
    for record in found:
        file.write((", " if count else "").encode() + json.dumps(record).encode())
        count += 1
    file.write(b"]")
    return count


def _write_parquet(file: BinaryIO, found: Iterator[exports.Record], _: LabelFormat) -> int:
    count = 0
    with pyarrow.parquet.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        while rows := list(islice(found, ROWS)):
            plain = [row | {name: _as_json(row[name]) for name in AS_JSON} for row in rows]
            writer.write_table(pyarrow.Table.from_pylist(plain, schema=SCHEMA))
            count += len(rows)
    return count


WRITERS = {LabelFormat.PARQUET: _write_parquet, LabelFormat.IDS: _write_array}


def _as_json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _manifest(errand: Errand, order: ExportOrder, path: Path, count: int) -> dict[str, Any]:
    with errand.transaction() as session:
        run = runs.get(session, errand.claim.run_id)
        return {
            "prefloop": importlib.metadata.version("prefloop"),
            "run": {"id": str(run.id), "name": run.name, "base_model": run.base_model, "hparams": run.hparams},
            "guidelines": _guidelines(session, run.id),
            "format": order.format,
            "scope": order.scope.model_dump(mode="json", exclude_defaults=True),
            "records": count,
            "files": [described(path)],
        }


def _guidelines(session: Any, run_id: UUID) -> list[dict[str, Any]]:
    return [{"version": one.version, "text": one.text} for one in guidelines.versions(session, run_id)]
