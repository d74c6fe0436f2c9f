"""`make chaos`: an ordeal as long as you like, its counts as JSON; exit code 1 if anything was lost or doubled."""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.ordeal import endure


def main() -> int:
    """From the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the same seed does the same things in the same order")
    parser.add_argument("--events", type=int, default=44)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="prefloop-chaos-"))
    folder.chmod(0o711)  # PostgreSQL started by root must reach its own folder
    print(f"in {folder}, which stays if it goes wrong", flush=True)
    counts = endure(folder / "home", seed=options.seed, events=options.events)
    if not counts.wrong:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(counts.as_json(), indent=1))
    return 1 if counts.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
