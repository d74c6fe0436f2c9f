"""Other tools in an environment of their own, run as programs that print one JSON line last."""

import json
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.settings import child_environment

ROOT = Path(__file__).parents[1]
PINS = ROOT / "bench" / "peers.txt"
HOME = ROOT / "build" / "peers"
QUIET = {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "TOKENIZERS_PARALLELISM": "false"}


def peer_python(given: Path | None = None) -> Path:
    """The interpreter of the peers' environment, which is made where it is missing or its pins have changed.

    It sees this environment's packages behind its own, so that both sides run on the same build of PyTorch.

    Args:
        given: one that has the peers already, for machines that can install nothing; its versions are in the results.
    """
    if given is not None:
        return given
    python, noted = HOME / "bin" / "python", HOME / "pins"
    if not noted.exists() or noted.read_text() != PINS.read_text():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(HOME)], check=True)
        asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
        own = Path(subprocess.run([python, "-c", asked], check=True, capture_output=True, text=True).stdout.strip())
        seen = dict.fromkeys([sysconfig.get_path("purelib"), *(one for one in sys.path if "site-packages" in one)])
        (own / "beside.pth").write_text("\n".join(seen) + "\n")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", str(PINS)], check=True)
        noted.write_text(PINS.read_text())
    return python


def run_json(command: Sequence[str | Path], changes: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What a program prints last, as JSON; ends this one with the program's own words if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env=child_environment(QUIET | dict(changes or {})),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{command[1]} ended with code {done.returncode}:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
