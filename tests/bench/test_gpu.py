"""The GPU benchmark's steps, on the CPU with a tiny model: they agree, they count, and they stop in time."""

import json
from typing import Any

import pytest

from bench.gpu import disagrees, main

SMALL = ["--device=cpu", "--models=tiny", "--query=6", "--response=4", "--batch=8", "--epochs=1", "--batches=8"]
QUICK = "--parts=agreement,sampled_per_second,training"


def test_every_part_runs_and_agrees_with_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*SMALL, QUICK])
    assert end.value.code == 0
    found = parts(capsys.readouterr().out)
    assert found["agreement"]["largest_fp32"] < 1e-4
    assert found["sampled_per_second"]["8"] > 0
    assert 0 < found["training"]["update_of_peak"] < 1


def parts(printed: str) -> dict[str, Any]:
    """What was found, by part."""
    return {row["part"]: row["found"] for row in json.loads(printed.splitlines()[-1])["rows"]}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # the compiler's own
def test_a_compiled_step_runs_through(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*SMALL, "--parts=training,training_compiled"])
    found = parts(capsys.readouterr().out)
    assert 0 < found["training_compiled"]["update_of_peak"] < 1


def test_nothing_is_begun_when_the_time_is_up(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*SMALL, "--seconds=-1"])
    assert capsys.readouterr().out.count("no time left") == 4


def test_a_device_that_computes_something_else_is_found() -> None:
    row = {"model": "tiny", "part": "agreement", "found": {"largest_fp32": 2e-3, "mean_bf16": 1e-3}}
    assert disagrees(row)
    assert disagrees(row | {"found": {"largest_fp32": float("nan"), "mean_bf16": 1e-3}})
    assert not disagrees(row | {"found": {"largest_fp32": 1e-5, "mean_bf16": 1e-3}})
