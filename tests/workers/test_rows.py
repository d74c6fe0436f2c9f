"""Rows of files and data sets: one by one, with the place and cause of each that is bad."""

import gzip
import json
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from app.errors import InvalidError, UnavailableError
from app.orders import RowFormat
from workers.rows import LONGEST_LINE, format_of, read_rows

ROWS = [{"text": "The door opened."}, {"text": "Two\nlines, and a “quote”."}, {"text": "Ende gut — alles gut."}]


@pytest.fixture(autouse=True)
def quiet_datasets() -> None:
    datasets.disable_progress_bars()


def write(path: Path) -> Path:
    """The same rows in the format of the path's name."""
    table = pyarrow.Table.from_pylist(ROWS)
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        case ".json":
            path.write_text(json.dumps(ROWS, indent=1))
        case ".csv":
            datasets.Dataset(table).to_csv(path, index=False)
        case ".parquet":
            pyarrow.parquet.write_table(table, path, row_group_size=2)
        case ".gz":
            path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode()))
        case "":
            datasets.Dataset(table).save_to_disk(path)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.jsonl.gz", "saved"])
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    assert [row.value for row in read_rows(str(path))] == ROWS


def test_a_folder_of_data_files_is_a_data_set_with_its_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({"text": split}) + "\n")
    assert [row.value for row in read_rows(str(tmp_path), split="test")] == [{"text": "test"}]


def test_a_saved_data_set_with_splits_names_them(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": rows, "validation": rows.select([0])}).save_to_disk(tmp_path)
    assert len(list(read_rows(str(tmp_path), RowFormat.DATASET, split="validation"))) == 1
    with pytest.raises(InvalidError, match="no split test: choose one of train, validation"):
        list(read_rows(str(tmp_path), RowFormat.DATASET, split="test"))


def test_lines_of_a_text_and_files_of_a_folder_are_rows(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_bytes(b"\xef\xbb\xbfOne\r\n\n  \nTwo")
    assert [row.value for row in read_rows(str(tmp_path / "lines.txt"))] == ["One", "Two"]
    folder = tmp_path / "stories"
    folder.mkdir()
    for name in ("b.story", "a.txt", "c.bin"):
        (folder / name).write_text(f"Story\nof {name}")
    assert [row.value for row in read_rows(str(folder))] == ["Story\nof a.txt", "Story\nof b.story"]


def test_a_bad_line_is_named_and_hides_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "one"}\n\n{"text": \n{"text": "\xff"}\n"two"\n')
    rows = list(read_rows(str(path)))
    assert [row.value for row in rows if row.fault is None] == [{"text": "one"}, "two"]
    faults = [(row.where, row.fault) for row in rows if row.fault]
    assert faults[0][0].endswith("line 3")
    assert "not JSON" in str(faults[0][1])
    assert faults[1][0].endswith("line 4")
    assert "not UTF-8 text (invalid start byte at byte 10 of the line)" in str(faults[1][1])


def test_a_line_without_end_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * (2 * LONGEST_LINE + 5) + b"\nshort\n")
    assert [(row.value, row.fault) for row in read_rows(str(path))] == [("", "longer than 16 MiB"), ("short", None)]


def test_a_csv_row_with_other_fields_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,"two\nlines"\n2\n3,three\n')
    rows = list(read_rows(str(path)))
    assert [row.value for row in rows if row.fault is None] == [
        {"id": "1", "text": "two\nlines"},
        {"id": "3", "text": "three"},
    ]
    assert [(row.where.rsplit(", ")[1], row.fault) for row in rows if row.fault] == [
        ("line 4", "1 fields, but the head names 2 columns")
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "empty: its first line must name the columns"),
        ("a.csv", b'text\n"a"b\n', "line 2: .*Nothing after it can be read"),
        ("a.csv", b"text\n\xff\xfe\n", "not UTF-8"),
        ("a.json", b'{"text": "a"}', "no JSON array"),
        ("a.json", b"[1, ", "not JSON"),
        ("a.parquet", b"PAR1 and then nothing", "no whole Parquet file"),
        ("a.jsonl.gz", b"plain", "Cannot read"),
    ],
)
def test_a_source_that_cannot_be_read_says_why(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidError, match=said):
        list(read_rows(str(tmp_path / name)))


@pytest.mark.parametrize("name", ["none.jsonl", "none.parquet", "none.csv"])
def test_a_missing_file_is_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidError, match="no such file"):
        list(read_rows(str(tmp_path / name)))


def test_half_a_parquet_file_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidError, match="no whole Parquet file"):
        list(read_rows(str(tmp_path / "a.parquet")))


def test_a_name_that_is_no_path_is_a_data_set_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    assert format_of("abisee/cnn_dailymail") == RowFormat.DATASET
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(UnavailableError, match="hub does not give abisee/cnn_dailymail"):
        list(read_rows("abisee/cnn_dailymail", subset="3.0.0"))
