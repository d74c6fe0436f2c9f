"""Rows of files and data sets, one at a time: never more in memory than a batch.

A row that cannot be read is a row with a fault, so that one bad line neither hides the others nor stops the reading.
What makes a whole source unreadable raises InvalidError.
"""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import orjson
import pyarrow.lib
import pyarrow.parquet

from app.errors import InvalidError
from app.orders import RowFormat
from workers import hub_rows

BATCH = 512
"""Rows of a Parquet file in memory at a time."""
LONGEST_LINE = 16 * 2**20
"""Bytes; a longer line is no text for people."""
SUFFIXES = {
    ".jsonl": RowFormat.JSONL,
    ".ndjson": RowFormat.JSONL,
    ".json": RowFormat.JSON,
    ".csv": RowFormat.CSV,
    ".parquet": RowFormat.PARQUET,
}
COMPRESSED = {".gz", ".bz2", ".xz", ".zst"}
TEXT_FILES = (".txt", ".story")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a source."""

    where: str
    """Source and line or row, for who has to mend it."""
    value: Any = None
    """A string, or an object with its columns."""
    fault: str | None = None
    """Why it could not be read."""


def read_rows(
    source: str, form: RowFormat = RowFormat.AUTO, *, subset: str | None = None, split: str = "train"
) -> Iterator[Row]:
    """The rows of a file, folder or hub data set, in their order.

    Raises: InvalidError if the source cannot be read at all: missing, of another format, not reachable.
    """
    kind = format_of(source) if form == RowFormat.AUTO else form
    if kind == RowFormat.DATASET:
        for number, value in enumerate(hub_rows.read(source, subset=subset, split=split), start=1):
            yield Row(where=f"{source}, row {number}", value=value)
        return
    path = Path(source).expanduser()
    yield from READERS[kind](path)


def format_of(source: str) -> RowFormat:
    """What a source is by its name, and by what lies there."""
    path = Path(source).expanduser()
    if path.is_dir():
        files = any(child.suffix in TEXT_FILES for child in path.iterdir())
        return RowFormat.FILES if files else RowFormat.DATASET
    suffixes = [one.lower() for one in path.suffixes]
    while suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    known = SUFFIXES.get(suffixes[-1]) if suffixes else None
    if known is None and not path.exists() and hub_rows.is_hub_id(source):
        return RowFormat.DATASET
    return known or RowFormat.TEXT


def _jsonl(path: Path) -> Iterator[Row]:
    for where, line, fault in _lines(path):
        yield Row(where=where, fault=fault) if fault else _json_row(where, line)


def _json_row(where: str, line: str) -> Row:
    try:
        return Row(where=where, value=orjson.loads(line))
    except orjson.JSONDecodeError as error:
        return Row(where=where, fault=f"not JSON ({error.msg}, column {error.colno})")


def _json(path: Path) -> Iterator[Row]:
    """Rows of one array. It is read whole: JSON has no lines to go by."""
    with _opened(path) as file:
        try:
            found = orjson.loads(file.read())
        except orjson.JSONDecodeError as error:
            raise InvalidError(
                f"{path.name} is not JSON: {error.msg}, line {error.lineno}, column {error.colno}."
            ) from error
    if not isinstance(found, list):
        raise InvalidError(f"{path.name} is no JSON array: put the records into [...], or one per line into a .jsonl.")
    for number, value in enumerate(found, start=1):
        yield Row(where=f"{path.name}, record {number}", value=value)


def _text(path: Path) -> Iterator[Row]:
    for where, line, fault in _lines(path):
        yield Row(where=where, value=line, fault=fault)


def _lines(path: Path) -> Iterator[tuple[str, str, str | None]]:
    """Where it is, the text and the fault of each line that is not blank."""
    with _opened(path) as file:
        number = 0
        while line := file.readline(LONGEST_LINE):
            number += 1
            where = f"{path.name}, line {number}"
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                while line and not line.endswith(b"\n"):
                    line = file.readline(LONGEST_LINE)
                yield where, "", f"longer than {LONGEST_LINE // 2**20} MiB"
                continue
            try:
                text = line.decode().removesuffix("\n").removesuffix("\r")
            except UnicodeDecodeError as error:
                yield where, "", f"not UTF-8 text ({error.reason} at byte {error.start} of the line)"
                continue
            if text.strip():
                yield where, text.removeprefix("\ufeff") if number == 1 else text, None


def _csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_LINE)
    with _opened(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True)
        try:
            head = next(reader, None)
            if not head:
                raise InvalidError(f"{path.name} is empty: its first line must name the columns.")
            start = reader.line_num + 1
            for fields in reader:
                if fields:
                    yield _csv_row(head, fields, f"{path.name}, line {start}")
                start = reader.line_num + 1
        except UnicodeDecodeError as error:
            where = f"{path.name} is not UTF-8 text after line {reader.line_num}"
            raise InvalidError(f"{where}: {error.reason}.") from error
        except csv.Error as error:  # a stray quotation mark swallows lines: where the next row begins nobody can say
            where = f"{path.name}, line {reader.line_num}"
            raise InvalidError(f"{where}: {error}. Nothing after it can be read.") from error


def _csv_row(head: list[str], fields: list[str], where: str) -> Row:
    if len(fields) != len(head):
        return Row(where=where, fault=f"{len(fields)} fields, but the head names {len(head)} columns")
    return Row(where=where, value=dict(zip(head, fields, strict=True)))


def _parquet(path: Path) -> Iterator[Row]:
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH):
                for value in batch.to_pylist():
                    number += 1
                    yield Row(where=f"{path.name}, row {number}", value=value)
    except FileNotFoundError as error:
        raise InvalidError(f"Cannot read {path}: no such file.") from error
    except (pyarrow.lib.ArrowException, OSError) as error:
        raise InvalidError(f"{path.name} is no whole Parquet file after row {number}: {_first_line(error)}.") from error


def _files(path: Path) -> Iterator[Row]:
    if not path.is_dir():
        raise InvalidError(f"{path} is no folder: give one that holds .txt or .story files.")
    for file in sorted(child for child in path.rglob("*") if child.suffix in TEXT_FILES):
        try:
            yield Row(where=str(file), value=file.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            yield Row(where=str(file), fault=f"not UTF-8 text ({error.reason} at byte {error.start})")


READERS = {
    RowFormat.JSONL: _jsonl,
    RowFormat.JSON: _json,
    RowFormat.TEXT: _text,
    RowFormat.CSV: _csv,
    RowFormat.PARQUET: _parquet,
    RowFormat.FILES: _files,
}


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked where its name says that it is packed."""
    try:
        with fsspec.open(str(path), "rb", compression="infer") as file:
            yield file
    except IsADirectoryError as error:
        raise InvalidError(f"{path} is a folder: give a file, or --format dataset or files.") from error
    except FileNotFoundError as error:
        raise InvalidError(f"Cannot read {path}: no such file, and no hub id.") from error
    except (EOFError, OSError) as error:
        raise InvalidError(f"Cannot read {path}: {_first_line(error)}.") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
