"""A run of a million points, folded as the control worker does: its page opens in under two seconds, extremes kept."""

import time

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app import stretches
from app.models import Role, Run
from app.web.dashboard import CURVES
from tests.app.web.conftest import SignIn
from tests.factories import make_run

pytestmark = pytest.mark.slow

NAMES, STEPS = 20, 50_000
SECONDS = 2.0


@pytest.fixture
def run(session: Session) -> Run:
    """Twenty curves of 50,000 points, one of them with a lone peak."""
    made = make_run(session, episodes=STEPS)
    session.execute(
        text("""
            insert into metric (run_id, name, step, value)
            select :run, name, step, case when step = 31234 then 1e6 else sin(step / 500.0) + random() end
            from unnest(cast(:names as text[])) name, generate_series(1, :steps) step
        """),
        {"run": made.id, "names": list(CURVES[:NAMES]), "steps": STEPS},
    )
    stretches.fold(session, made.id)
    session.commit()
    tidy = text("vacuum analyze metric, metric_stretch")
    session.connection(execution_options={"isolation_level": "AUTOCOMMIT"}).execute(tidy)
    return made


def test_it_opens_in_under_two_seconds(client: TestClient, sign_in: SignIn, run: Run) -> None:
    sign_in(client, Role.RESEARCHER)
    taken = {}
    for path in ("", "/status.json", "/curves.json", "/board.json"):
        began = time.perf_counter()
        answer = client.get(f"/runs/{run.id}{path}")
        taken[path or "page"] = round(time.perf_counter() - began, 3)
        assert answer.status_code == 200
        if path == "/curves.json":
            curve = answer.json()["curves"][CURVES[0]]
            assert max(curve["value"]) == 1e6
            assert len(curve["step"]) <= 502
    print(taken)
    assert sum(taken.values()) < SECONDS, taken
