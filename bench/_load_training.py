"""Labelers at a person's pace while PPO trains on the same cores: a whole `prefloop up` with a real model."""

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvloop

from bench._load_client import Crowd, Measured
from bench._load_site import free_port

PEOPLE = 8
PATIENCE_SECONDS = 1800.0
"""Until samples are there, and then until PPO trains."""
COMMAND = (sys.executable, "-P", "-c", "from app.cli import main; main()", "up")


def training(options: argparse.Namespace, seconds_per_label: float) -> dict[str, Any]:
    """What the labelers saw in `options.human_seconds` while episodes were counted up."""
    home = Path(tempfile.mkdtemp(prefix="prefloop-load-", dir=options.folder))
    home.chmod(0o711)
    try:
        with _running(home, options.model) as ready:
            return uvloop.run(_labeled(ready, options, seconds_per_label))
    finally:
        shutil.rmtree(home, ignore_errors=True)


async def _labeled(ready: dict[str, str], options: argparse.Namespace, seconds_per_label: float) -> dict[str, Any]:
    address = httpx.URL(ready["url"])
    bearer = {"Authorization": f"Bearer {ready['api_token']}"}
    async with httpx.AsyncClient(base_url=address, headers=bearer, timeout=60, trust_env=False) as api:
        people = [(await api.post("/api/v1/labelers", json={"name": f"labeler {n}"})).json() for n in range(PEOPLE)]
        crowd = Crowd(
            host=address.host,
            port=address.port or 80,
            run=ready["run_id"],
            secrets=[f"Authorization: Bearer {one['token']}" for one in people],
        )
        await _until_ppo_trains(api, crowd)
        crowd.measured, before = Measured(), await _episodes(api, crowd.run)
        await crowd.label(options.human_seconds, seconds_per_label=seconds_per_label, seed=options.seed)
        trained = await _episodes(api, crowd.run) - before
    seconds = options.human_seconds
    rows = {"pace": "training", "people": PEOPLE, "seconds": seconds, "episodes": trained, **crowd.measured.rows()}
    return rows | {"load_average": os.getloadavg()[0]}


async def _until_ppo_trains(api: httpx.AsyncClient, crowd: Crowd) -> None:
    """Give the labels that PPO waits for as fast as samples come, until it has begun; what is written beyond them
    waits for the people who are measured."""
    until = time.monotonic() + PATIENCE_SECONDS
    while (run := await _run(api, crowd.run))["episodes"] == 0:
        assert time.monotonic() < until, "PPO does not begin"
        if run["labels_usable"] < run["labels_required"]:
            await crowd.saturate(1.0)
        await asyncio.sleep(1.0)


async def _episodes(api: httpx.AsyncClient, run: str) -> int:
    return int((await _run(api, run))["episodes"])


async def _run(api: httpx.AsyncClient, run: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(f"/api/v1/runs/{run}")).raise_for_status().json()
    return found


@contextmanager
def _running(home: Path, model: str | None) -> Iterator[dict[str, str]]:
    file = home / "ready.json"
    env = os.environ | {"PREFLOOP_HOME": str(home), "PREFLOOP_PORT": str(free_port())}
    words = (f"--ready-file={file}", *((f"--model={model}",) if model else ()))
    process = subprocess.Popen((*COMMAND, *words), env=env, cwd=home, stdout=sys.stderr)
    try:
        until = time.monotonic() + PATIENCE_SECONDS
        while not file.exists():
            assert process.poll() is None, "prefloop up has ended"
            assert time.monotonic() < until, "no sample was written"
            time.sleep(0.5)
        yield json.loads(file.read_text())
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(300)
