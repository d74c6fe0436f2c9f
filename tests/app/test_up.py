"""`prefloop up`: what it starts, what it says when it cannot, what is left when it ends."""

import os
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.processes import wait_for_end, wait_until
from tests.running import COMMAND, RunningPrefloop

PARTS = {"postgres", "valkey", "web", "control", "trainer", "tick"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as tried:
        number: int = tried.getsockname()[1]
        return number


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def home(servers_dir: Path) -> Path:
    return servers_dir / "up"


@pytest.fixture(scope="module")
def running(home: Path, port: int) -> Iterator[RunningPrefloop]:
    with RunningPrefloop(home, port) as started:
        started.ready()
        yield started


def run_ids(running: RunningPrefloop) -> list[str]:
    with running.client() as client:
        return [run["id"] for run in client.get("/api/v1/runs").raise_for_status().json()["runs"]]


def refusal(home: Path, *words: str, port: int = 0) -> str:
    """What a start that must fail says."""
    environment = {**os.environ, "PREFLOOP_HOME": str(home), "PREFLOOP_PORT": str(port or free_port())}
    failed = subprocess.run((*COMMAND, "up", *words), env=environment, capture_output=True, text=True, timeout=180)
    assert failed.returncode == 1, failed.stderr
    assert "Traceback" not in failed.stderr
    return failed.stderr.strip().splitlines()[-1]


def test_a_model_that_is_not_there_is_told(servers_dir: Path) -> None:
    said = refusal(servers_dir / "none", "--model=/no/such/folder")
    assert said == "There is no base model to start from. Give one that can be had with --model."


class TestRunning:
    def test_all_parts_run_and_a_comparison_waits(self, running: RunningPrefloop) -> None:
        assert set(running.children()) == PARTS
        with running.client() as client:
            run = running.ready()["run_id"]
            leases = client.post(f"/api/v1/runs/{run}/leases", json={"count": 1}).raise_for_status().json()["leases"]
            assert len(leases[0]["samples"]) == 4

    def test_the_ready_file_is_its_owners_alone(self, running: RunningPrefloop) -> None:
        assert stat.S_IMODE(running.ready_file.stat().st_mode) == 0o600
        assert set(running.ready()) == {"url", "labeler_link", "researcher_link", "api_token", "run_id"}

    def test_a_second_start_on_the_same_folder_is_refused(self, running: RunningPrefloop, home: Path) -> None:
        assert refusal(home) == (
            f"Prefloop already runs on {home} (process {running.process.pid}): "
            "stop it first, or choose another folder with PREFLOOP_HOME."
        )

    def test_a_port_in_use_is_told(self, running: RunningPrefloop, port: int, tmp_path: Path) -> None:
        assert running.process.poll() is None
        assert refusal(tmp_path / "other", port=port) == (
            f"Cannot listen on 127.0.0.1 port {port} (Address already in use): choose another port with PREFLOOP_PORT."
        )

    @pytest.mark.parametrize("part", ["web", "valkey", "postgres", "control", "trainer", "tick"])
    def test_a_killed_part_comes_back(self, running: RunningPrefloop, part: str) -> None:
        killed = running.part(part)
        killed.kill()
        wait_until(f"{part} again", lambda: running.children().get(part, killed).pid != killed.pid)

    def test_the_site_answers_after_all_of_that(self, running: RunningPrefloop) -> None:
        with running.client() as client:
            wait_until("an answer", lambda: answers(client, f"/api/v1/runs/{running.ready()['run_id']}"))


class TestEnd:
    def test_ctrl_c_ends_all_parts_and_a_second_start_finds_everything_within_seconds(
        self, running: RunningPrefloop, home: Path, port: int
    ) -> None:
        first, parts = running.ready(), [part.pid for part in running.children().values()]
        before = run_ids(running)
        assert running.stop() == 0
        wait_for_end(parts, seconds=0)
        began = time.monotonic()
        with RunningPrefloop(home, port) as again:
            assert again.ready()["run_id"] == first["run_id"]
            assert time.monotonic() - began < 30
            assert run_ids(again) == before == [first["run_id"]]
            assert again.stop() == 0
            assert not again.ready_file.exists()

    def test_kill_9_leaves_no_part_behind_and_does_not_hinder_the_next_start(self, home: Path, port: int) -> None:
        with RunningPrefloop(home, port) as killed:
            run = killed.ready()["run_id"]
            parts = [part.pid for part in psutil.Process(killed.process.pid).children(recursive=True)]
            assert len(parts) > len(PARTS), "the web server has processes of its own"
            killed.process.kill()
            wait_for_end(parts)
        with RunningPrefloop(home, port) as again:
            assert again.ready()["run_id"] == run
            assert again.stop() == 0


def answers(client: httpx.Client, path: str) -> bool:
    """Whether the site answers."""
    try:
        return client.get(path).is_success
    except httpx.TransportError:
        return False
