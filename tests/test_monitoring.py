"""Board, rules and figures fit each other: nothing is drawn or watched that nobody tells."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import yaml
from prometheus_client.core import Metric
from sqlalchemy.orm import Session

from app.db import SessionFactory
from app.jobs import Queue
from app.kinds import JobKind
from app.models import Job, Worker
from app.web.meters import Meters
from tests.factories import make_comparison, make_run
from workers import meters as of_workers

FOLDER = Path(__file__).parent.parent / "docs" / "monitoring"
OF_PROMETHEUS = {"up"}
NAME = re.compile(r"\b(?:prefloop_\w+|up)\b(?=[{\[\s)]|$)")


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / "grafana" / "prefloop.json").read_text())["panels"]
    return found


def expressions() -> list[str]:
    drawn = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [*drawn, *(rule["expr"] for rule in rules())]


@pytest.fixture
def told(session: Session, session_factory: SessionFactory, tmp_path: Path) -> set[str]:
    """Names of all samples that site and workers tell of a plant that has everything."""
    run = make_run(session)
    make_comparison(session, run)
    session.add(Job(run_id=run.id, kind=JobKind.SAMPLE, step=0))
    session.add(Worker(name="w", queues=list(Queue), memory_bytes=1, gpu="G", gpu_used_bytes=1, gpu_total_bytes=2))
    session.commit()
    meters = Meters(session_factory, tmp_path)
    meters.requests.labels("GET", "/", 200).observe(0.1)
    of_workers.JOB_SECONDS.labels("sample", "done").observe(1.0)
    of_workers.TICKS_SENT.labels("prefloop.tick").inc()
    site = re.findall(r"^(\w+)(?=[{ ])", meters.exposition().decode(), flags=re.MULTILINE)
    collected: list[Metric] = list(prometheus_client.REGISTRY.collect())
    return {*site, *(sample.name for metric in collected for sample in metric.samples)}


def test_all_that_is_drawn_and_watched_is_told(told: set[str]) -> None:
    asked = {name for expression in expressions() for name in NAME.findall(expression)}
    assert len(asked) > 15
    assert asked - told - OF_PROMETHEUS == set()


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    assert all({"summary", "remedy"} <= set(rule["annotations"]) for rule in rules())
    assert {rule["labels"]["severity"] for rule in rules()} == {"page", "ticket"}


def test_panels_have_places_of_their_own_and_the_source_that_is_provided() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    assert len(set(places)) == len(places)
    (source,) = yaml.safe_load((FOLDER / "grafana" / "datasource.yml").read_text())["datasources"]
    assert {panel["datasource"]["uid"] for panel in panels()} == {source["uid"]}
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_prometheus_takes_configuration_rules_and_expressions(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs promtool of Debian's package prometheus")
    recorded = [{"record": f"x{number}", "expr": asked} for number, asked in enumerate(expressions())]
    board = {"groups": [{"name": "board", "rules": recorded}]}
    (tmp_path / "board.yml").write_text(yaml.safe_dump(board))
    for words in (("config", FOLDER / "prometheus.yml"), ("rules", tmp_path / "board.yml")):
        done = subprocess.run([promtool, "check", *map(str, words)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
