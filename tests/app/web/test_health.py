"""Health: live without anything, ready with a database of the newest schema, broker or not."""

import os
import subprocess
import sys
from pathlib import Path

from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.jobs import Queue
from app.kinds import JobKind
from app.main import create_app
from app.models import Job, Worker
from app.settings import Settings
from tests.factories import make_comparison, make_run


def test_ready_without_a_broker(client: TestClient) -> None:
    answer = client.get("/health/ready")
    assert answer.status_code == 200
    assert {name: answer.json()[name] for name in ("database", "migrations", "broker")} == {
        "database": "ok",
        "migrations": "ok",
        "broker": "none",
    }


def test_ready_with_a_broker_and_with_a_dead_one(settings: Settings, broker_url: str) -> None:
    for url, told in ((broker_url, "ok"), ("redis+socket:///nowhere/valkey.sock", "unreachable")):
        with TestClient(create_app(settings.model_copy(update={"broker_url": url}))) as client:
            answer = client.get("/health/ready")
            assert answer.status_code == 200
            assert answer.json()["broker"].startswith(told)


def test_not_ready_but_alive_without_a_database(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"database_url": "postgresql+psycopg://nobody@/none?host=/nowhere"})
    with TestClient(create_app(nowhere)) as client:
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 503
        refused = client.get("/api/v1/runs", headers={"Authorization": "Bearer x"})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")


def test_not_ready_with_an_old_schema(client: TestClient, session: Session) -> None:
    session.execute(text("update alembic_version set version_num = '0001'"))
    session.commit()
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert "prefloop migrate" in answer.json()["migrations"]


def test_degraded_until_every_queue_is_served(settings: Settings, session: Session, broker_url: str) -> None:
    with TestClient(create_app(settings.model_copy(update={"broker_url": broker_url}))) as client:
        told = client.get("/health/ready").json()
        assert (told["status"], told["workers"]) == (
            "degraded",
            "none serves control, sampling, reward, policy; 0 alive",
        )
        session.add(Worker(name="a", queues=list(Queue), memory_bytes=1))
        session.commit()
        assert client.get("/health/ready").json()["status"] == "ok"
        session.execute(text("update worker set seen_at = now() - interval '1 minute'"))
        session.commit()
        answer = client.get("/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded"), "people may go on labeling"


def test_figures_for_prometheus(client: TestClient, session: Session) -> None:
    run = make_run(session, episodes=320)
    session.commit()
    client.get("/health/live")
    figures = client.get("/metrics").text
    assert f'prefloop_episodes{{run="{run.id}"}} 320.0' in figures
    assert 'prefloop_http_request_seconds_count{method="GET",route="/health/live",status="200"} 1.0' in figures


def test_figures_of_the_plant(client: TestClient, session: Session) -> None:
    run = make_run(session)
    make_comparison(session, run)
    session.add(Job(run_id=run.id, kind=JobKind.SAMPLE, step=0))
    session.add(Worker(name="box:trainer", queues=["sampling"], memory_bytes=3, gpu="G", gpu_used_bytes=1))
    session.commit()
    session.execute(text("update job set created_at = now() - interval '1 hour'"))
    session.execute(text("update comparison set created_at = now() - interval '2 hours'"))
    session.commit()
    figures = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
    assert figures["prefloop_database_up"] == "1.0"
    assert figures['prefloop_queue_jobs{queue="sampling"}'] == "1.0"
    assert 3600 <= float(figures['prefloop_queue_oldest_seconds{queue="sampling"}']) < 3660
    assert 7200 <= float(figures[f'prefloop_sample_age_seconds{{run="{run.id}"}}']) < 7260
    assert figures['prefloop_queue_workers{queue="sampling"}'] == "1.0"
    assert figures['prefloop_queue_workers{queue="policy"}'] == "0.0"
    assert figures['prefloop_worker_gpu_bytes{gpu="G",which="used",worker="box:trainer"}'] == "1.0"
    assert figures[f'prefloop_cord_pulled{{run="{run.id}"}}'] == "0.0"


def test_without_a_database_the_figures_say_so(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"database_url": "postgresql+psycopg://nobody@/none?host=/nowhere"})
    with TestClient(create_app(nowhere)) as client:
        assert "prefloop_database_up 0.0" in client.get("/metrics").text


TWO_ASKS = """
import sys
from fastapi.testclient import TestClient
from app.main import create_app
client = TestClient(create_app())
for _ in range(int(sys.argv[1])):
    client.get("/health/live")
print(client.get("/metrics").text)
"""


def test_several_processes_add_up(settings: Settings, tmp_path: Path) -> None:
    facts = {"PREFLOOP_DATABASE_URL": str(settings.database_url), "PREFLOOP_HOME": str(tmp_path)}
    env = os.environ | facts | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PREFLOOP_LOG_LEVEL": "WARNING"}
    told = [
        subprocess.run([sys.executable, "-c", TWO_ASKS, asks], env=env, capture_output=True, text=True, check=True)
        for asks in ("2", "3")
    ]
    line = 'prefloop_http_request_seconds_count{method="GET",route="/health/live",status="200"} '
    assert f"{line}2.0" in told[0].stdout
    assert f"{line}5.0" in told[1].stdout
    assert told[1].stdout.count("prefloop_database_up 1.0") == 1
