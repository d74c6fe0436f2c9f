"""`python -m bench NAME ARGUMENTS`; without a name, says which there are."""

import runpy
import sys
from pathlib import Path


def main() -> None:
    """Run the benchmark named first, with the arguments that follow."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        sys.exit(f"usage: python -m bench NAME ARGUMENTS, with NAME one of: {', '.join(names)}")
    del sys.argv[0]
    runpy.run_module(f"bench.{sys.argv[0]}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
