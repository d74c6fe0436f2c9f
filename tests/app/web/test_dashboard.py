"""The page of a run over HTTP: who may see it, what it says, how its stream behaves."""

import json
import math
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import anyio
import pytest
from bs4 import BeautifulSoup
from fastapi.testclient import TestClient
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from sse_starlette import ServerSentEvent

from app.db import SessionFactory
from app.errors import NotFoundError
from app.kinds import JobKind
from app.models import Job, JobState, Metric, Role, Run, Worker
from app.web.dashboard import CURVES, Snapshot, plotly_path
from app.web.events import changes, read
from app.web.watching import Watch, Watches
from tests.app.web.conftest import SignIn
from tests.factories import make_comparison, make_run


@pytest.fixture
def run(session: Session) -> Run:
    made = make_run(session, name="Happier <stories>")
    make_comparison(session, made)
    for episodes in (32, 64):
        session.add(Metric(run_id=made.id, name="objective/kl", step=episodes, value=episodes / 64))
    session.add(Metric(run_id=made.id, name="objective/score", step=32, value=math.nan))
    session.commit()
    return made


@pytest.fixture
def researcher(client: TestClient, sign_in: SignIn) -> TestClient:
    sign_in(client, Role.RESEARCHER)
    return client


class TestPage:
    def test_labelers_are_refused(self, client: TestClient, sign_in: SignIn, run: Run) -> None:
        sign_in(client, Role.LABELER)
        for path in ("", "/status.json", "/curves.json", "/board.json", "/events"):
            assert client.get(f"/runs/{run.id}{path}").status_code == 403

    def test_strangers_are_led_to_the_sign_in_page(self, client: TestClient, run: Run) -> None:
        assert client.get(f"/runs/{run.id}").headers["location"] == "/signin"

    def test_unknown_run(self, researcher: TestClient) -> None:
        for path in ("", "/status.json", "/curves.json", "/board.json", "/events"):
            assert researcher.get(f"/runs/{uuid4()}{path}").status_code == 404

    def test_names_the_run_and_runs_no_inline_script(self, researcher: TestClient, run: Run) -> None:
        page = BeautifulSoup(researcher.get(f"/runs/{run.id}").text, "html.parser")
        heading = page.find("h1")
        assert heading is not None
        assert "Happier <stories>" in heading.text
        assert all(script.get("src") and not script.text.strip() for script in page.find_all("script"))
        board = page.find(id="board")
        assert board is not None
        assert (board["data-run"], board["data-kl-target"]) == (str(run.id), "6.0")

    def test_whatever_the_page_loads_exists(self, researcher: TestClient, run: Run) -> None:
        page = BeautifulSoup(researcher.get(f"/runs/{run.id}").text, "html.parser")
        paths = [tag["src"] for tag in page.find_all("script")] + [tag["href"] for tag in page.find_all("link")]
        assert len(paths) >= 4
        for path in paths:
            assert researcher.get(str(path)).status_code == 200


class TestJson:
    def test_status_tells_how_far_the_curves_have_come(self, researcher: TestClient, run: Run) -> None:
        body = researcher.get(f"/runs/{run.id}/status.json").json()
        assert body["status"]["last_steps"] == {"objective/kl": 64, "objective/score": 32}
        assert body["status"]["summary"]["ready"] == 1

    def test_status_tells_of_the_workers_and_changes_only_when_they_do(
        self, researcher: TestClient, session: Session, run: Run
    ) -> None:
        job = Job(run_id=run.id, kind=JobKind.SAMPLE, step=0, state=JobState.RUNNING, attempt=1, worker="one")
        long_ago = datetime(2020, 1, 1, tzinfo=UTC)
        session.add_all([job, Worker(name="one", queues=["sampling"], memory_bytes=2**30 + 5)])
        session.add(Worker(name="two", queues=["control"], memory_bytes=2**24, seen_at=long_ago))
        session.commit()
        workers = researcher.get(f"/runs/{run.id}/status.json").json()["status"]["workers"]
        assert [(one["lives"], one["doing"], one["memory_bytes"]) for one in workers] == [
            (True, "sample", 2**30),
            (False, None, 2**24),
        ]
        before = researcher.get(f"/runs/{run.id}/status.json").json()["status"]
        session.get_one(Worker, "one").memory_bytes = 2**30 + 500_000
        session.commit()
        assert researcher.get(f"/runs/{run.id}/status.json").json()["status"] == before

    def test_every_curve_is_to_be_had_as_a_table(self, researcher: TestClient, run: Run) -> None:
        names = {"name": ["objective/kl", "labels/usable"]}
        table = researcher.get(f"/runs/{run.id}/curves.csv", params=names).text.splitlines()
        assert table[0] == "metric,step,value,low,high,recorded_at"
        rows = [line.split(",")[:3] for line in table[1:]]
        assert rows == [["objective/kl", "32", "0.5"], ["objective/kl", "64", "1.0"]]
        assert researcher.get(f"/runs/{run.id}/policies.csv").text.startswith("policy,episodes,kl,score,kl_coef")
        query = {"run": str(run.id), "name": "objective/kl"}
        compared = researcher.get("/runs/compare.csv", params=query).text.splitlines()
        assert compared[1].startswith(f"{run.id},Happier <stories>,objective/kl,32,0.5")

    def test_what_the_page_draws_is_what_it_is_sent(self) -> None:
        script = (Path(__file__).parents[3] / "static" / "dashboard" / "curves.js").read_text()
        charts = script[script.index("const CHARTS") : script.index("];\n\n")]
        drawn = set(re.findall(r'\["([a-z]+/[a-z_/]+)", "', charts))
        assert drawn == {*CURVES, "labels/usable"}
        assert {"labels/per_minute", "queue/ready", "queue/oldest_minutes", "reward/accuracy_incoming"} <= drawn
        assert {f"objective/{name}" for name in ("score", "kl", "kl_coef", "entropy", "valid_fraction")} <= drawn
        assert {"objective/response_length", "ppo/loss/value", "ppo/policy/clipfrac", "ppo/val/var_explained"} <= drawn
        assert "frontier: true" in charts

    def test_curves_are_columns_and_nan_is_null(self, researcher: TestClient, run: Run) -> None:
        curves = researcher.get(f"/runs/{run.id}/curves.json").json()["curves"]
        assert curves["objective/kl"]["step"] == [32, 64]
        assert curves["objective/kl"]["value"] == [0.5, 1.0]
        assert curves["objective/score"]["value"] == [None]
        assert curves["labels/usable"]["step"] == []

    def test_curves_go_on_from_where_the_page_stands(self, researcher: TestClient, run: Run) -> None:
        query = {"name": ["objective/kl", "objective/score"], "after": ["32", "-1"]}
        curves = researcher.get(f"/runs/{run.id}/curves.json", params=query).json()["curves"]
        assert {name: curve["step"] for name, curve in curves.items()} == {
            "objective/kl": [64],
            "objective/score": [32],
        }

    def test_each_name_needs_its_place(self, researcher: TestClient, run: Run) -> None:
        query = {"name": ["objective/kl", "objective/score"], "after": ["32"]}
        assert researcher.get(f"/runs/{run.id}/curves.json", params=query).status_code == 422

    def test_board_lists_checkpoints(self, researcher: TestClient, run: Run) -> None:
        body = researcher.get(f"/runs/{run.id}/board.json").json()
        assert [checkpoint["roles"] for checkpoint in body["checkpoints"]] == [["reference", "serving"]]
        assert (body["events"], body["showcase"]) == ([], {"policies": [], "prompts": []})


class TestPlotly:
    def test_comes_from_the_wheel_and_may_be_kept(self, client: TestClient) -> None:
        first = client.get("/static/vendor/plotly.min.js")
        assert first.content == plotly_path().read_bytes()
        assert "immutable" in first.headers["cache-control"]
        again = client.get("/static/vendor/plotly.min.js", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")

    def test_is_not_copied_into_the_tree(self) -> None:
        assert not list((Path(__file__).parents[3] / "static").rglob("plotly*"))


class TestStream:
    def test_sends_the_first_look_and_then_only_changes(
        self, session: Session, session_factory: SessionFactory, run: Run
    ) -> None:
        looks = 0

        def look() -> Snapshot:
            nonlocal looks
            looks += 1
            if looks == 4:
                run.episodes = 96
                session.commit()
            return read(session_factory, run.id)

        events = collect(look, seconds=1.5)
        assert looks > 5
        assert [episodes_of(event) for event in events] == [0, 96]
        assert all(event.event == "status" for event in events)

    def test_holds_no_connection_between_looks(self, engine: Engine, session_factory: SessionFactory, run: Run) -> None:
        async def watch() -> list[int]:
            events = changes(Watch(lambda: read(session_factory, run.id), poll_seconds=0.01), stream_seconds=0.1)
            return [engine.pool.checkedout() async for _ in events]  # type: ignore[attr-defined]

        assert anyio.run(watch) == [0]

    def test_ends_when_the_run_is_gone(self) -> None:
        def look() -> Snapshot:
            raise NotFoundError("gone")

        assert collect(look, seconds=60) == []

    def test_fifty_viewers_cost_as_many_looks_as_one(self, session_factory: SessionFactory, run: Run) -> None:
        looks: list[float] = []

        def look() -> Snapshot:
            looks.append(time.monotonic())
            return read(session_factory, run.id)

        heard: list[int] = []

        async def view(watches: Watches) -> None:
            watch = watches.of(run.id, look)
            watch.poll_seconds = 0.1
            heard.append(len([event async for event in changes(watch, stream_seconds=1.0)]))

        async def all_view() -> None:
            watches = Watches()
            async with anyio.create_task_group() as viewers:
                for _ in range(50):
                    viewers.start_soon(view, watches)

        anyio.run(all_view)
        assert heard == [1] * 50
        assert len(looks) <= 11, "one for each tenth of a second, not fifty"

    def test_a_run_that_nobody_watches_is_forgotten(self, run: Run) -> None:
        watches = Watches()
        first = watches.of(run.id, lambda: pytest.fail("nobody looks"))
        assert watches.of(run.id, lambda: pytest.fail("nobody looks")) is first
        del first
        assert len(watches) == 0

    def test_is_an_event_as_browsers_read_it(self, session_factory: SessionFactory, run: Run) -> None:
        event = collect(lambda: read(session_factory, run.id), seconds=0.05)[0]
        lines = event.encode().decode().splitlines()
        assert lines[0] == "event: status"
        assert json.loads(lines[1].removeprefix("data: "))["status"]["summary"]["name"] == "Happier <stories>"


def collect(look: Callable[[], Snapshot], *, seconds: float) -> list[ServerSentEvent]:
    async def gather() -> list[ServerSentEvent]:
        return [event async for event in changes(Watch(look, poll_seconds=0.01), stream_seconds=seconds)]

    return anyio.run(gather)


def episodes_of(event: ServerSentEvent) -> int:
    episodes: int = json.loads(str(event.data))["status"]["summary"]["episodes"]
    return episodes
