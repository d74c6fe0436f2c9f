"""`python -m bench NAME ARGUMENTS`; without a name, says which there are."""

import ast
import runpy
import sys
from pathlib import Path


def first_line(path: Path) -> str:
    """What a benchmark says of itself."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]


def main() -> None:
    """Run the benchmark named first, with the arguments that follow."""
    said = {path.stem: first_line(path) for path in sorted(Path(__file__).parent.glob("[!_]*.py"))}
    if len(sys.argv) < 2 or sys.argv[1] not in said:
        listed = "\n".join(f"  {name:18}{line}" for name, line in said.items())
        sys.exit(f"usage: python -m bench NAME ARGUMENTS, with NAME one of:\n{listed}")
    del sys.argv[0]
    runpy.run_module(f"bench.{sys.argv[0]}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
