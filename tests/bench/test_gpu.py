"""The GPU benchmark's steps, on the CPU with a tiny model: they agree, they count, and they stop in time."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.gpu import disagrees, main

SMALL = ["--device=cpu", "--models=tiny", "--query=6", "--response=4", "--batch=8", "--epochs=1", "--batches=8"]
QUICK = "--parts=agreement,sampled_per_second,training"


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # the compiler's own
def test_every_part_runs_and_agrees_with_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*SMALL, QUICK])
    assert end.value.code == 0
    found = parts(capsys.readouterr().out)
    assert found["agreement"]["ratio_fp32"] < 1e-4
    assert found["agreement"]["ratio_compiled_fp32"] < 1e-4
    assert 0 < found["agreement"]["gradient_bf16"] < 0.05
    assert found["sampled_per_second"]["8"] > 0
    assert 0 < found["training"]["update_of_peak"] < 1


BARE = """
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"pydantic", "pydantic_core", "structlog", "sqlalchemy", "fastapi", "celery"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Nothing())
from bench.gpu import main
main(sys.argv[1:])
"""


def test_pytorch_and_transformers_are_enough(tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text(BARE)
    command = [sys.executable, str(tmp_path / "bare.py"), *SMALL, QUICK]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={"PYTHONPATH": str(root)})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["without"] == ["pydantic", "structlog"]
    assert 0 < parts(done.stdout)["training"]["update_of_peak"] < 1


def parts(printed: str) -> dict[str, Any]:
    """What was found, by part."""
    return {row["part"]: row["found"] for row in json.loads(printed.splitlines()[-1])["rows"]}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # the compiler's own
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # the tracer's
def test_a_compiled_step_runs_through(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*SMALL, "--parts=sampled_per_second_compiled,training,training_compiled"])
    found = parts(capsys.readouterr().out)
    assert found["sampled_per_second_compiled"]["8"] > 0
    assert 0 < found["training_compiled"]["update_of_peak"] < 1


def test_nothing_is_begun_when_the_time_is_up(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*SMALL, "--seconds=-1"])
    assert capsys.readouterr().out.count("no time left") == 5


def test_a_device_that_computes_something_else_is_found() -> None:
    good = {"ratio_fp32": 1e-5, "ratio_bf16": 1e-3, "gradient_fp32": 1e-5, "gradient_bf16": 0.01}
    good |= {"ratio_compiled_fp32": 1e-5, "ratio_compiled_bf16": 1e-3}
    assert not disagrees({"part": "agreement", "found": good})
    for name, bad in (
        ("ratio_fp32", 2e-3),
        ("ratio_bf16", float("nan")),
        ("ratio_compiled_fp32", 1.0),
        ("gradient_fp32", 1.0),
        ("gradient_bf16", 0.5),
    ):
        assert disagrees({"part": "agreement", "found": good | {name: bad}})
    assert not disagrees({"part": "agreement", "found": None})
