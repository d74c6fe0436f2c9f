"""The wheel alone, in a clean environment and far from the repository: minutes, so `.ci/run` asks for it by name."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.app.test_up import free_port
from tests.running import RunningPrefloop

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent


def run(*argv: str | Path, cwd: Path) -> str:
    """Run a program that must succeed; what it wrote."""
    clean = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(argv, cwd=cwd, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class CleanEnvironment:
    """A fresh virtual environment that holds pip and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
        self.bin = folder / "venv" / "bin"
        self.pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
        self.wheel = next(folder.glob("prefloop-*.whl"))

    def pip(self, verb: str, *words: str) -> None:
        pinned = () if verb == "wheel" else ("--constraint", str(ROOT / "constraints.txt"))
        run(self.bin / "python", "-m", "pip", "--disable-pip-version-check", verb, *pinned, *words, cwd=self.folder)

    def python(self, program: str) -> str:
        return run(self.bin / "python", "-c", program, cwd=self.folder)


@pytest.fixture(scope="module")
def environment(servers_dir: Path) -> CleanEnvironment:
    folder = servers_dir / "wheel"
    folder.mkdir(mode=0o711)
    return CleanEnvironment(folder)


def test_the_site_installs_and_loads_without_pytorch(environment: CleanEnvironment) -> None:
    environment.pip("install", str(environment.wheel))
    program = "import importlib.util, app.main, app.resources as r; print(importlib.util.find_spec('torch'), r.HERE)"
    assert environment.python(program).split() == ["None", str(next(environment.bin.parent.glob("lib/*/*/app")))]
    environment.python("from app.resources import folder; folder('templates'), folder('static')")
    assert "up" in run(environment.bin / "prefloop", "--help", cwd=environment.folder)


def test_all_of_it_starts_from_another_folder(environment: CleanEnvironment) -> None:
    if index := os.environ.get("TORCH_INDEX"):
        environment.pip("install", "--no-deps", "--index-url", index, "torch")
    environment.pip("install", f"{environment.wheel}[local,train]")
    command = (str(environment.bin / "prefloop"),)
    with RunningPrefloop(environment.folder / "home", free_port(), command=command) as started:
        ready = started.ready(300)
        with started.client() as client:
            leases = client.post(f"/api/v1/runs/{ready['run_id']}/leases", json={"count": 1}).json()["leases"]
            choice = {"verdict": "best", "choice": leases[0]["samples"][0]["id"]}
            labels = f"/api/v1/comparisons/{leases[0]['comparison']}/labels"
            client.post(labels, json=choice, headers={"Idempotency-Key": "1"}).raise_for_status()
            page = client.get(ready["labeler_link"])
            assert page.is_success
            assert "<form" in page.text
            style = httpx.URL(ready["url"]).join("/static/app.css")
            assert client.get(style).is_success
        assert started.stop() == 0
