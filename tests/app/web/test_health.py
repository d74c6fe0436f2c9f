"""Health: live without anything, ready with a database of the newest schema, broker or not."""

from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.main import create_app
from app.settings import Settings
from tests.factories import make_run


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


def test_figures_for_prometheus(client: TestClient, session: Session) -> None:
    run = make_run(session, episodes=320)
    session.commit()
    client.get("/health/live")
    figures = client.get("/metrics").text
    assert f'prefloop_episodes{{run="{run.id}"}} 320.0' in figures
    assert 'prefloop_http_request_seconds_count{method="GET",route="/health/live",status="200"} 1.0' in figures
