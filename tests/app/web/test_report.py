"""What can be taken away of a run: one printable file, and event files for TensorBoard."""

from datetime import UTC, datetime

import pytest
from bs4 import BeautifulSoup
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app import andon
from app.models import Agreement, Metric, Role, Run
from app.reports import Point
from app.web.report import line
from tests.app.web.conftest import SignIn
from tests.factories import make_checkpoint, make_run


@pytest.fixture
def run(session: Session) -> Run:
    made = make_run(session, name="kept <for> later", episodes=64)
    make_checkpoint(session, made, number=2, episodes=64, report={"kl": 3.0, "score": 0.7})
    session.add_all(Metric(run_id=made.id, name="objective/kl", step=32 * i, value=float(i)) for i in range(1, 4))
    andon.pull(session, made.id, None, "it only writes about cats")
    figures = {"percent": {"value": 0.71, "low": 0.6, "high": 0.8}, "alpha": {"value": 0.35, "low": 0.1, "high": 0.5}}
    report = {"comparisons": 17, "labels": 40, "pairs": [], "weights": {}} | figures
    session.add(Agreement(run_id=made.id, labels=40, report=report))
    session.commit()
    return made


@pytest.fixture(autouse=True)
def _signed_in(client: TestClient, sign_in: SignIn) -> None:
    sign_in(client, Role.RESEARCHER)


def test_the_report_is_one_file_with_everything_in_it(client: TestClient, run: Run) -> None:
    answer = client.get(f"/runs/{run.id}/report")
    assert answer.status_code == 200, answer.text
    page = BeautifulSoup(answer.text, "html.parser")
    assert page.h1 is not None
    assert page.h1.get_text() == "kept <for> later"
    assert page.find_all(["link", "script", "img"]) == []
    curve = page.find("polyline")
    assert curve is not None
    assert curve["points"] == "0.0,110.0 160.0,55.0 320.0,0.0"
    text = page.get_text()
    assert "71 % 60–80 of 17 comparisons that several answered; Krippendorff's alpha 0.35 0.10 to 0.50" in text
    assert "@media print" in answer.text
    for said in ("it only writes about cats", "Not released.", "ppo.guards.sign_check", "0.70", "None was held."):
        assert said in text


def test_the_event_file_carries_every_curve(client: TestClient, run: Run) -> None:
    answer = client.get(f"/runs/{run.id}/tensorboard")
    assert b"brain.Event:2" in answer.content
    assert answer.content.count(b"objective/kl") == 3
    assert "events.out.tfevents." in answer.headers["content-disposition"]


def test_the_playground_offers_every_writer_and_begins_with_reference_and_serving_policy(
    client: TestClient, run: Run
) -> None:
    page = BeautifulSoup(client.get(f"/runs/{run.id}/playground").text, "html.parser")
    assert [one.get_text() for one in page.select("#left option")] == ["policy 2", "reference"]
    assert [one.get_text() for one in page.select("#right option[selected]")] == ["reference"]


def test_a_flat_curve_is_a_line_and_an_endless_value_is_left_out() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    points = [
        Point(step=i, value=v, low=None, high=None, recorded_at=at) for i, v in ((0, 2.0), (1, float("inf")), (2, 2.0))
    ]
    assert line(points) == "0.0,110.0 320.0,110.0"
    assert line(points[:1]) == "156.0,55.0 164.0,55.0"
    assert line([]) == ""
