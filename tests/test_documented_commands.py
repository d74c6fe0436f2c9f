"""Every command in README and docs parses, and a test runs it; the long ones are marked slow."""

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import typer
import yaml

from app.cli import cli
from tests.documented import ROOT, Command, commands, split
from workers.cli import app as training

PLACEHOLDERS = {"RUN": str(UUID(int=1)), "OTHER_RUN": str(UUID(int=2)), "N": "1"}
"""What stands for something of the reader's."""
HINTS = {"...", "X", "Y"}

RUN_BY = {
    "prefloop up": "tests/app/test_up.py",
    "prefloop simulate": "tests/test_commands_on_a_site.py",
    "prefloop evaluate": "tests/test_commands_on_a_site.py",
    "prefloop import-prompts": "tests/app/test_cli.py",
    "prefloop create-run": "tests/app/test_cli.py",
    "prefloop create-labeler": "tests/app/test_cli.py",
    "prefloop gc": "tests/workers/test_collection.py",
    "prefloop backup": "tests/app/test_cli.py",
    "prefloop backups": "tests/app/test_cli.py",
    "prefloop restore": "tests/app/test_cli.py",
    "prefloop migrate": "tests/test_commands_on_a_site.py",
    "prefloop doctor": "tests/test_commands_on_a_site.py",
    "prefloop runs": "tests/test_commands_on_a_site.py",
    "prefloop import-labels": "tests/test_commands_on_a_site.py",
    "prefloop export-labels": "tests/test_commands_on_a_site.py",
    "prefloop export-model": "tests/test_commands_on_a_site.py",
    "prefloop fetch-model": "tests/test_commands_on_a_site.py",
    "prefloop summaries": "tests/workers/test_summaries.py",
    "prefloop train": "tests/workers/test_train_command.py",
    "prefloop finetune": "tests/workers/test_finetune.py",
    "make demo": "tests/test_documented_commands.py",
    "python -m scripts.settings_page": "tests/scripts/test_settings_page.py",
    "python -m scripts.make_stories": "tests/scripts/test_make_stories.py",
    "python -m scripts.dependency_audit": "tests/scripts/test_dependency_audit.py",
    "python -m tests.chaos": "tests/chaos/test_chaos.py",
}
"""Command -> the test file that runs it or all that it does."""


@cache
def tree() -> Any:
    """All commands of `prefloop`, as the installed program has them."""
    whole = typer.Typer()
    whole.add_typer(cli)
    whole.add_typer(training)
    return typer.main.get_command(whole)


def found(*, program: str) -> list[Command]:
    return [command for command in commands() if command.words[0] == program]


def parse(command: Command, words: list[str]) -> str | None:
    """Why `prefloop` would refuse these words; None if it would not."""
    group, context = tree(), None
    names: list[str] = []
    words = [PLACEHOLDERS.get(word, word) for word in words]
    while hasattr(group, "commands") and words:
        if words[0] not in group.commands:
            return None if words[0] in HINTS else f"{command}: there is no command {words[0]}"
        names.append(words[0])
        context = group.make_context(names[-1], [], parent=context, resilient_parsing=True)
        group, words = group.commands[words[0]], words[1:]
    if hasattr(group, "commands"):
        return None
    try:
        group.make_context(names[-1], [word for word in words if word != "..."], parent=context)
    except Exception as error:
        mentioned = type(error).__name__ in ("MissingParameter", "BadOptionUsage") and not command.whole
        return None if mentioned else f"{command}: {getattr(error, 'message', error)}"
    return None


def test_the_finder_finds_and_leaves_prose_alone() -> None:
    assert split("PICTURES=x .venv/bin/prefloop gc --remove  # now") == [("prefloop", "gc", "--remove")]
    assert split("git clone x && cd x && make demo") == [("make", "demo")]
    assert split("the labeler's answer") == []
    assert len(found(program="prefloop")) > 40
    assert {command.page for command in commands()} >= {"README.md", "docs/backup.md", "docs/evidence/operating.md"}


def test_the_parser_refuses_what_is_not_there() -> None:
    bad = [("gc", "--delete"), ("no-such-command",), ("create-run", "name"), ("simulate", "--labelers", "many")]
    refused = [parse(Command("x", 1, ("prefloop", *words), whole=True), list(words)) for words in bad]
    assert None not in refused


def test_every_command_of_prefloop_parses() -> None:
    refused = [parse(command, list(command.words[1:])) for command in found(program="prefloop")]
    assert [reason for reason in refused if reason] == []


def makefile() -> tuple[set[str], str]:
    text = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([a-z-]+):", text, re.MULTILINE)), text


def test_every_target_of_make_is_there_and_its_words_parse() -> None:
    targets, _ = makefile()
    for command in found(program="make"):
        target, *given = command.words[1:]
        assert target in targets, str(command)
        for word in given:
            name, _, value = word.partition("=")
            assert name in ("ARGS", "PYTHON", "VENV", "TORCH_INDEX"), str(command)
            if target == "demo" and name == "ARGS":
                assert parse(command, ["up", *shlex.split(value)]) is None


def test_make_demo_installs_and_starts_with_the_words_that_are_given() -> None:
    """What it starts is run by tests/app/test_up.py, and what it installs by `.ci/run`."""
    asked = ["make", "--no-print-directory", "--dry-run", "--always-make", "demo", "ARGS=--model gpt2-medium"]
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(asked, capture_output=True, text=True, cwd=ROOT, check=True, env=alone)
    assert "install --constraint constraints.txt --editable '.[local,train]'" in done.stdout
    assert done.stdout.rstrip().endswith("prefloop up --model gpt2-medium")


def test_every_test_that_is_named_is_there() -> None:
    for command in found(program="pytest"):
        for path in [word for word in command.words if word.startswith("tests/")]:
            file, _, name = path.partition("::")
            assert (ROOT / file).exists(), str(command)
            assert not name or f"def {name.split('::')[-1]}(" in (ROOT / file).read_text(), str(command)


def modules() -> Iterator[tuple[Command, str, list[str]]]:
    """Commands of Python, the module that each runs and the words for it."""
    for command in found(program="python"):
        if command.words[1] == "-m" and len(command.words) > 2:
            module, *words = command.words[2:]
            if module == "bench" and words:
                yield command, f"bench.{words[0]}", words[1:]
            elif module.split(".")[0] in ("bench", "scripts", "tests") and not module.endswith("..."):
                yield command, module, words


def options_of(module: str) -> set[str]:
    """Options that the module's parser knows, read from its text."""
    path = ROOT / Path(*module.split("."))
    text = (path / "__main__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    added = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"]
    words = [word.value for call in added for word in call.args if isinstance(word, ast.Constant)]
    return {str(word) for word in words if str(word).startswith("--")}


def test_every_module_that_is_run_is_there_and_knows_its_options() -> None:
    for command, module, words in modules():
        path = ROOT / Path(*module.split("."))
        assert path.is_dir() or path.with_suffix(".py").is_file(), str(command)
        used = {word.split("=")[0] for word in words if word.startswith("--")}
        assert used <= options_of(module), str(command)


def test_every_service_of_compose_is_there_and_its_command_parses() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for command in found(program="docker"):
        words = list(command.words[1:])
        if words[:2] == ["compose", "run"] and "prefloop" in words:
            place = words.index("prefloop")
            assert words[place - 1] in services, str(command)
            assert parse(command, words[place + 1 :]) is None


def key_of(command: Command) -> str | None:
    """What of a command must be run by a test."""
    if command.words[0] == "prefloop" and command.words[1] not in HINTS:
        return f"prefloop {command.words[1]}"
    return "make demo" if command.words[:2] == ("make", "demo") else None


def test_a_test_runs_every_command() -> None:
    needed = {key for command in commands() if (key := key_of(command))}
    needed |= {f"python -m {module}" for _, module, _ in modules() if module.split(".")[0] != "bench"}
    assert needed - RUN_BY.keys() == set()
    benches = {module.split(".")[1] for _, module, _ in modules() if module.startswith("bench.")}
    small = " ".join(path.read_text() for path in (ROOT / "tests/bench").glob("test_*.py"))
    assert {name for name in benches if name not in small} == set(), "tests/bench runs each benchmark in small"
    for key, file in RUN_BY.items():
        said = (ROOT / file).read_text()
        assert key.split(" ")[-1].rsplit(".", 1)[-1] in said, f"{file} does not run {key}"


def test_the_program_that_is_installed_has_these_commands() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from app.cli import main; main()", "backup", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "--keep" in done.stdout


@pytest.mark.parametrize("name", ["backup", "train"])
def test_help_is_whole(name: str) -> None:
    """Every option says what it does."""
    options = tree().commands[name].params
    assert all(option.help for option in options if option.name != "help")
