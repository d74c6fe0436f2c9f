"""Every service of docker-compose.yml as a process against real PostgreSQL and Valkey: all become healthy, a person
labels, a trainer writes, and the logs tell of it without telling what was written."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from app import welcome
from app.db import make_engine, make_session_factory
from app.embedded import postgres_program
from app.settings import Settings
from tests.composed import AS_NOBODY, Composed
from tests.processes import wait_until
from tests.tiny import save_tiny_model

pytestmark = pytest.mark.slow
VALUES = {
    "POSTGRES_PASSWORD": "owner-password",
    "SITE_DATABASE_PASSWORD": "site-password",
    "BROKER_PASSWORD": "broker-password",
    "PREFLOOP_SECRET_KEY": "key-of-the-site",
    "GRAFANA_PASSWORD": "board-password",
}
OURS = ("web", "control", "beat", "worker-cpu")
ELSEWHERE = {
    "worker-gpu": "it differs from worker-cpu in its image and its GPU alone (tests/test_deployment.py)",
    "grafana": "no package has it; its files are held against the figures (tests/test_monitoring.py)",
}


@pytest.fixture(scope="module")
def composed() -> Iterator[Composed]:
    """The services up to the trainer, started in order, each once those it waits for are healthy."""
    folder = Path(tempfile.mkdtemp(prefix="composed-", dir="/tmp"))
    folder.chmod(0o755)
    made = Composed(folder=folder, values=VALUES)
    try:
        make_database_folder(made)
        for name in made.order():
            if name not in (*ELSEWHERE, "prometheus"):
                for before, on in made.services[name].get("depends_on", {}).items():
                    if on["condition"] == "service_healthy":
                        made.wait_healthy(before)
                made.start(name)
                if name == "postgres":
                    make_database(made)
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def make_database_folder(made: Composed) -> None:
    """What the entry point of the image does at its first start."""
    secret = made.folder / "postgres" / "password"
    secret.write_text(VALUES["POSTGRES_PASSWORD"])
    as_nobody = AS_NOBODY if os.geteuid() == 0 else ()
    data = str(made.folder / "postgres" / "data")
    made_by = [*as_nobody, str(postgres_program("initdb")), "-D", data, "-U", "prefloop"]
    words = [*made_by, f"--pwfile={secret}", "--auth=scram-sha-256", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"]
    subprocess.run(words, check=True, capture_output=True)


def make_database(made: Composed) -> None:
    made.wait_healthy("postgres")
    port, password = made.ports["postgres"], VALUES["POSTGRES_PASSWORD"]
    with psycopg.connect(
        host="127.0.0.1", port=port, user="prefloop", password=password, dbname="postgres", autocommit=True
    ) as asked:
        asked.execute("create database prefloop")


@pytest.fixture(scope="module")
def greeting(composed: Composed) -> welcome.Welcome:
    """A run of a tiny model, and a researcher's token."""
    model = save_tiny_model(composed.folder / "data" / "tiny")
    model.chmod(0o755)
    settings = Settings(
        home=composed.folder / "data", database_url=composed.environment("web")["PREFLOOP_DATABASE_URL"]
    )
    engine = make_engine(settings.need_database_url(), pool_size=2)
    factory = make_session_factory(engine)
    try:
        return welcome.prepare(factory, settings, base_model=str(model), preset=welcome.DEFAULT_PRESET)
    finally:
        engine.dispose()


@pytest.fixture(scope="module")
def client(composed: Composed, greeting: welcome.Welcome) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {greeting.api_token}"}
    url = f"http://127.0.0.1:{composed.ports['web']}"
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as made:
        yield made


def figures(composed: Composed, name: str) -> str:
    port = composed.ports[name]
    return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=20).text


def lines(composed: Composed, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in composed.log(name).splitlines()]


def test_each_becomes_healthy_by_its_own_check(composed: Composed) -> None:
    if shutil.which("redis-cli") is None and shutil.which("valkey-cli") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("the broker's health check needs Debian's redis-tools")
    for name in ("postgres", "broker", *OURS):
        composed.wait_healthy(name)


def test_the_site_is_ready_with_all_its_parts(composed: Composed, client: httpx.Client) -> None:
    def told() -> dict[str, Any]:
        answer: dict[str, Any] = client.get("/health/ready").json()
        return answer

    wait_until("the workers", lambda: told()["workers"] == "ok", 120)
    assert {part: told()[part] for part in ("database", "migrations", "broker", "workers", "disk")} == dict.fromkeys(
        ("database", "migrations", "broker", "workers", "disk"), "ok"
    )
    doctor = composed.run("control", "prefloop", "doctor")
    assert "the role prefloop_site can add to the log, not change it" in doctor


def test_a_person_labels_and_no_log_holds_a_word_of_it(
    composed: Composed, client: httpx.Client, greeting: welcome.Welcome
) -> None:
    leases: list[dict[str, Any]] = []

    def leased() -> bool:
        answer = client.post(f"/api/v1/runs/{greeting.run_id}/leases", json={"count": 1})
        leases[:] = answer.json()["leases"]
        return bool(leases)

    wait_until("the first comparison", leased, 180)
    (held,) = leases
    body = {"verdict": "best", "choice": held["samples"][0]["id"], "reason": "MARKED reason"}
    url = f"/api/v1/comparisons/{held['comparison']}/labels"
    labeled = client.post(url, json=body, headers={"Idempotency-Key": "one"})
    assert labeled.status_code == 200, labeled.text
    client.post(f"/api/v1/runs/{greeting.run_id}/andon", json={"reason": "MARKED cord"}).raise_for_status()
    private = ["MARKED", held["prompt"].strip(), *(sample["text"].strip() for sample in held["samples"])]
    for name in ("postgres", *OURS):
        assert [words for words in private if words in composed.log(name)] == [], name


def test_the_id_of_a_request_leads_to_the_job_that_it_started(
    composed: Composed, client: httpx.Client, greeting: welcome.Welcome
) -> None:
    policy = client.get(f"/api/v1/runs/{greeting.run_id}").json()["checkpoints"]["serving"]["id"]
    body = {"checkpoint": policy, "prompt": "She was", "count": 1}
    answer = client.post("/api/v1/generate", json=body, headers={"X-Request-ID": "traced-by-test"})
    job = answer.json()["job"]

    def traced(name: str) -> list[dict[str, Any]]:
        return [line for line in lines(composed, name) if line.get("request_id") == "traced-by-test"]

    wait_until("the end of the job", lambda: any(line["event"] == "job_done" for line in traced("worker-cpu")), 120)
    assert [line["route"] for line in traced("web")] == ["/api/v1/generate"]
    assert {line["job"] for line in traced("worker-cpu")} == {job}


def test_workers_and_beat_tell_prometheus_of_jobs_and_ticks(composed: Composed) -> None:
    wait_until("a tick", lambda: "prefloop_ticks_total 0.0" not in figures(composed, "control"))
    assert 'prefloop_ticks_sent_total{task="prefloop.tick"}' in figures(composed, "beat")
    assert 'prefloop_job_seconds_count{kind="import_model",outcome="done"} 1.0' in figures(composed, "worker-cpu")
    assert 'prefloop_queue_workers{queue="policy"} 1.0' in figures(composed, "web")


def test_all_lines_of_ours_are_json(composed: Composed) -> None:
    assert all(lines(composed, name) for name in ("web", "control", "worker-cpu"))
    assert {line["level"] for name in OURS for line in lines(composed, name)} <= {"info", "warning"}


def test_prometheus_starts_with_the_shipped_rules(composed: Composed, tmp_path: Path) -> None:
    if shutil.which("prometheus") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs Debian's prometheus")
    places = {}
    for volume in composed.services["prometheus"]["volumes"]:
        source, target = volume.split(":")[:2]
        places[target] = str(Path(source).absolute()) if source.startswith(".") else str(tmp_path)
    port = composed.ports["prometheus"]
    words = ["prometheus"]
    for word in composed.services["prometheus"]["command"]:
        option, _, value = word.partition("=")
        words.append(f"{option}={places.get(value, value)}")
    started = subprocess.Popen([*words, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until("Prometheus", lambda: answers(f"{url}/-/healthy"))
        (group,) = httpx.get(f"{url}/api/v1/rules", trust_env=False).json()["data"]["groups"]
        assert len(group["rules"]) >= 12
    finally:
        started.kill()
        started.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False


def test_nothing_is_left_out_without_a_reason(composed: Composed) -> None:
    assert {"postgres", "broker", "migrate", "prometheus", *OURS, *ELSEWHERE} == set(composed.services)
