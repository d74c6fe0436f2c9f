"""The pages on fidelity and on what was seen name code and tests; each must be there, or they claim what none holds."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE, SEEN = ROOT / "docs" / "fidelity.md", ROOT / "docs" / "evidence" / "learning.md"
NAME = re.compile(r"`([\w./-]+\.py)::([\w.:]+)`")
"""`file.py::name`, or `file.py::Class.name`; tests in classes with `::`, as pytest takes them."""


def named(page: Path) -> list[tuple[str, str]]:
    found = NAME.findall(page.read_text(encoding="utf-8"))
    return [(path, name.replace("::", ".")) for path, name in found]


def defined(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    """Functions, classes, methods and assigned names, dotted."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield prefix + node.name
        if isinstance(node, ast.ClassDef):
            yield from defined(node.body, f"{prefix}{node.name}.")
        if isinstance(node, ast.AnnAssign):
            yield prefix + ast.unparse(node.target)
        if isinstance(node, ast.Assign):
            yield from (prefix + ast.unparse(target) for target in node.targets)


@pytest.mark.parametrize(("page", "files"), [(PAGE, 60), (SEEN, 4)])
def test_whatever_the_page_names_is_there(page: Path, files: int) -> None:
    paths = sorted({path for path, _ in named(page)})
    assert len(paths) >= files
    there = {path: set(defined(ast.parse((ROOT / path).read_text(encoding="utf-8")).body)) for path in paths}
    assert [f"{path}::{name}" for path, name in named(page) if name not in there[path]] == []


HELD_BY = re.compile(r"`tests/[\w/]+\.py::(Test\w+::)?test_\w+`")


def rows() -> Iterator[list[str]]:
    """The cells of every row but the heads and the lines below them."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("|") and not line.startswith("|---") and not below.startswith("|---"):
            yield [cell.strip() for cell in line.split("|")[1:-1]]


def test_every_row_names_tests_and_nothing_else_as_what_holds_it() -> None:
    found = list(rows())
    assert len(found) > 90
    assert [cells[-1] for cells in found if not all(map(HELD_BY.fullmatch, cells[-1].split(", ")))] == []


def test_a_row_has_as_many_cells_as_its_head() -> None:
    cells = 0
    for number, line in enumerate(PAGE.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.startswith("|"):
            cells = 0
            continue
        cells = cells or line.count("|")
        assert line.count("|") == cells, f"{PAGE.name}, line {number}"
