"""What the load benchmark says of what it saw."""

import pytest

from bench._load_client import quantiles
from bench._load_plans import _nodes
from bench.load import parse


def test_without_words_both_paces_of_labelers_are_measured() -> None:
    assert parse([]).paces == ["saturation", "human"]
    assert parse(["training", "--model", "folder"]).paces == ["training"]


def test_a_pace_that_is_none_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["sprint"])
    assert "sprint is no pace: give any of saturation, human, training" in capsys.readouterr().err


def test_quantiles_are_by_nearest_rank() -> None:
    assert quantiles([n / 1000 for n in range(100, 0, -1)]) == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}
    assert quantiles([0.25]) == {"p50": 250.0, "p95": 250.0, "p99": 250.0, "max": 250.0}
    assert quantiles([]) == {}


def test_a_plan_is_read_to_its_leaves() -> None:
    leaf = {"Node Type": "Seq Scan"}
    inner = {"Node Type": "Sort", "Plans": [leaf]}
    plan = {"Node Type": "Nested Loop", "Plans": [inner, {"Node Type": "Index Scan"}]}
    assert [one["Node Type"] for one in _nodes(plan)] == ["Nested Loop", "Sort", "Seq Scan", "Index Scan"]
