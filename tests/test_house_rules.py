"""The plan of the house, as code: each rule parses every file and names the line that breaks it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OWN = ("app", "workers", "migrations")
LONGEST_FILE = 400
TEXT = {".py", ".html", ".js", ".css"}

APP_FLOORS = {
    4: {"main", "cli", "run_commands", "backup_commands", "up"},
    3: {"web"},
    1: {"models", "jobs"},
    0: {
        "settings",
        "errors",
        "quality",
        "sequential",
        "hparams",
        "orders",
        "copying",
        "checkpoint_files",
        "kinds",
        "rules",
        "texts",
        "resources",
        "launch",
        "logs",
        "client",
    },
}
WORKER_FLOORS = {
    4: {
        "tasks",
        "handlers",
        "control",
        "evaluation",
        "train_command",
        "finetune_command",
        "data_commands",
        "summaries",
        "team_member",
        "cli",
    },
    3: {
        "data",
        "tracking",
        "celery_app",
        "fencing",
        "listening",
        "collection",
        "plan",
        "watch",
        "heartbeat",
        "presence",
        "observing",
        "work",
        "database_task",
        "attempts",
        "assessment",
        "transfers",
        "team",
    },
    1: {"nets"},
    0: {"rlhf"},
}
SHARED = {
    "app.hparams",
    "app.kinds",
    "app.errors",
    "app.quality",
    "app.sequential",
    "app.rules",
    "app.texts",
    "app.orders",
    "app.copying",
    "app.checkpoint_files",
}
"""Of the app, what every floor of the workers may read: no database and no torch comes with it."""
MIDDLE_FLOOR = 2
"""Of every room not named above."""
TRAINING_LIBRARIES = {"torch", "transformers", "safetensors", "accelerate", "gguf"}
DATABASE_LIBRARIES = {"sqlalchemy", "psycopg", "alembic", "celery", "kombu", "redis", "fastapi"}
"""Not to be found on a bare GPU machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported module."""

    importer: str
    target: str
    line: int
    in_function: bool
    for_types: bool
    """Under `if TYPE_CHECKING`: never executed."""

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.target}"


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def is_own_module(name: str) -> bool:
    place = ROOT.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


def targets(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    assert node.level == 0, f"line {node.lineno}: imports are absolute"
    for alias in node.names:
        inner = f"{node.module}.{alias.name}"
        is_module = str(node.module).split(".")[0] in OWN and is_own_module(inner)
        yield inner if is_module else str(node.module)


def walk(node: ast.AST, *, in_function: bool = False, for_types: bool = False) -> Iterator[tuple[ast.AST, bool, bool]]:
    for child in ast.iter_child_nodes(node):
        inside = in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing = for_types or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test))
        yield child, inside, typing
        yield from walk(child, in_function=inside, for_types=typing)


@cache
def imports(*folders: str) -> tuple[Import, ...]:
    return tuple(
        Import(importer=module_of(path), target=target, line=node.lineno, in_function=in_function, for_types=for_types)
        for path in files(*folders)
        for node, in_function, for_types in walk(tree_of(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for target in targets(node)
    )


def package(module: str) -> str:
    return module.split(".")[0]


def floor(module: str) -> int:
    house = APP_FLOORS if package(module) == "app" else WORKER_FLOORS
    room = module.split(".")[1] if "." in module else ""
    return next((number for number, rooms in house.items() if room in rooms), MIDDLE_FLOOR)


def within_reason(found: Import) -> bool:
    """Whether an import between our own rooms keeps to the floors."""
    source, target = package(found.importer), package(found.target)
    if (source, target) in {("app", "app"), ("workers", "workers")}:
        return floor(found.target) <= floor(found.importer)
    if (source, target) == ("workers", "app"):
        return found.target in SHARED or (floor(found.importer) >= 3 and floor(found.target) <= 2)
    if source == "migrations":
        return found.target.startswith("app.models") or found.target == "app.settings"
    return target == "migrations" and source == "migrations"


class TestImports:
    def test_run_downward_only(self) -> None:
        wrong = [found for found in imports(*OWN) if package(found.target) in OWN and not within_reason(found)]
        assert [str(found) for found in wrong] == []

    def test_make_no_circle(self) -> None:
        graph: dict[str, set[str]] = {}
        for found in imports("app", "workers"):
            if package(found.target) in OWN and not found.for_types and found.target != found.importer:
                graph.setdefault(found.importer, set()).add(found.target)
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            pytest.fail(f"modules import each other: {' -> '.join(error.args[1])}")

    def test_of_our_own_stand_at_the_top_of_the_file(self) -> None:
        hidden = [found for found in imports(*OWN) if found.in_function and package(found.target) in OWN]
        assert [str(found) for found in hidden] == []

    def test_of_app_never_reach_training_code(self) -> None:
        banned = TRAINING_LIBRARIES | {"workers"}
        assert [str(found) for found in imports("app", "migrations") if package(found.target) in banned] == []

    def test_of_trainers_need_no_database(self) -> None:
        wrong = [
            found
            for found in imports("workers")
            if floor(found.importer) <= MIDDLE_FLOOR and package(found.target) in DATABASE_LIBRARIES
        ]
        assert [str(found) for found in wrong] == []

    @pytest.mark.parametrize("module", ["app.main", "app.cli", "workers.control"])
    def test_of_what_starts_in_a_second_load_no_torch(self, module: str) -> None:
        program = f"import sys, {module}; print(*({TRAINING_LIBRARIES!r} & set(sys.modules)))"
        loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
        assert (loaded.returncode, loaded.stdout.strip()) == (0, ""), loaded.stderr


def places(path: Path, nodes: Iterator[ast.AST]) -> list[str]:
    return [f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', '?')}" for node in nodes]


def is_commit(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commit"


def reads_environment(node: ast.AST) -> bool:
    names = {"environ", "environb", "getenv", "getenvb", "putenv"}
    if isinstance(node, ast.Attribute):
        return node.attr in names
    return isinstance(node, ast.ImportFrom) and node.module == "os" and any(a.name in names for a in node.names)


def test_only_the_edge_commits() -> None:
    """A use case that commits would leave half of its caller's work behind when the rest fails."""
    others = [path for path in files("app", "workers") if path != ROOT / "app" / "db.py"]
    assert [place for path in others for place in places(path, filter(is_commit, ast.walk(tree_of(path))))] == []


def test_only_the_settings_read_the_environment() -> None:
    others = [path for path in files("app", "workers") if path != ROOT / "app" / "settings.py"]
    found = [place for path in others for place in places(path, filter(reads_environment, ast.walk(tree_of(path))))]
    assert found == []


def test_no_file_is_too_long_to_be_read_in_one_go() -> None:
    code = files("app", "workers", "migrations", "tests", "bench", "scripts")
    pages = [path for folder in ("templates", "static") for path in (ROOT / folder).rglob("*.*")]
    lengths = {path: path.read_bytes().count(b"\n") for path in (*code, *pages) if path.suffix in TEXT}
    assert {str(path.relative_to(ROOT)): lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_the_rules_see_what_they_forbid() -> None:
    """The oracle of this file: a hand-written violation of each rule."""
    bad = ast.parse("def f():\n    import app.db\n    session.commit()\n    return os.environ['X'] or os.getenv('Y')")
    assert [inside for node, inside, _ in walk(bad) if isinstance(node, ast.Import)] == [True]
    assert len(list(filter(is_commit, ast.walk(bad)))) == 1
    assert len(list(filter(reads_environment, ast.walk(bad)))) == 2
    cases = {
        ("app.models.run", "app.labeling"): False,
        ("app.labeling", "app.models.run"): True,
        ("app.labeling", "app.web.pages"): False,
        ("app.web.pages", "app.labeling"): True,
        ("app.main", "workers.loop"): False,
        ("workers.rlhf.kl", "workers.nets.policy"): False,
        ("workers.ppo_trainer", "app.hparams"): True,
        ("workers.ppo_trainer", "app.models"): False,
        ("workers.data.labels", "app.models"): True,
        ("workers.tasks", "app.web.pages"): False,
        ("migrations.env", "app.models"): True,
        ("migrations.env", "app.labeling"): False,
    }
    seen = {
        pair: within_reason(Import(importer=pair[0], target=pair[1], line=1, in_function=False, for_types=False))
        for pair in cases
    }
    assert seen == cases
