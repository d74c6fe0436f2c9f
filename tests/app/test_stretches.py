"""Long curves by their stretches, held against the points themselves."""

import random

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from app import reports, stretches
from app.models import Metric, MetricStretch, Run
from tests.factories import make_run
from workers import tracking

NAME, OTHER = "objective/kl", "objective/score"


@pytest.fixture
def run(session: Session) -> Run:
    return make_run(session)


def write(session: Session, run: Run, values: dict[int, float], name: str = NAME) -> None:
    rows = [{"run_id": run.id, "name": name, "step": step, "value": value} for step, value in values.items()]
    session.execute(insert(Metric), rows)


def curve(count: int, seed: int = 0) -> dict[int, float]:
    """Points at uneven steps."""
    source, step, values = random.Random(seed), 0, dict[int, float]()
    for _ in range(count):
        step += source.randrange(1, 90)
        values[step] = source.gauss(0, 1)
    return values


def expected(values: dict[int, float], buckets: int) -> set[int]:
    """The slow way: extremes of rows of stretches, and the ends."""
    steps = sorted(values)
    pieces = [steps[start : start + stretches.ROWS] for start in range(0, len(steps), stretches.ROWS)]
    per = -(-len(pieces) // buckets)
    kept = {steps[0], steps[-1]}
    for start in range(0, len(pieces), per):
        row = [step for piece in pieces[start : start + per] for step in piece]
        kept |= {min(row, key=lambda step: values[step]), max(row, key=lambda step: values[step])}
    return kept


def shown(session: Session, run: Run, points: int, name: str = NAME) -> dict[int, float]:
    (series,) = reports.metrics(session, run.id, [name], points)
    assert [point.step for point in series.points] == sorted(point.step for point in series.points)
    return {point.step: point.value for point in series.points}


@pytest.mark.parametrize("count", [480, 487, 1013])
def test_a_folded_curve_is_drawn_by_the_extremes_of_its_stretches(session: Session, run: Run, count: int) -> None:
    values = curve(count)
    write(session, run, values)
    write(session, run, curve(7, seed=1), OTHER)
    stretches.fold(session, run.id)
    counted = select(func.count()).select_from(MetricStretch)
    assert session.scalar(counted) == count // stretches.ROWS
    kept = shown(session, run, points=50)
    assert kept.keys() == expected(values, buckets=24)
    assert kept.items() <= values.items()
    assert len(kept) <= 50
    assert len(shown(session, run, 50, OTHER)) == 7


def test_what_came_since_is_there_at_once_and_folding_goes_on_where_it_stopped(session: Session, run: Run) -> None:
    values = curve(1013)
    early = dict(list(values.items())[:700])
    write(session, run, early)
    stretches.fold(session, run.id)
    write(session, run, {step: value for step, value in values.items() if step not in early})
    before = shown(session, run, points=40)
    assert before.keys() == expected(values, buckets=19)
    stretches.fold(session, run.id)
    stretches.fold(session, run.id)
    numbers = session.scalars(select(MetricStretch.number).order_by(MetricStretch.number)).all()
    assert numbers == list(range(1013 // stretches.ROWS))
    assert shown(session, run, points=40) == before


def test_a_step_that_is_done_again_changes_the_curve(session: Session, run: Run) -> None:
    values = curve(600)
    write(session, run, values)
    stretches.fold(session, run.id)
    peak = sorted(values)[100]
    tracking.record(session, run.id, peak, {NAME: 1e6})
    values[peak] = 1e6
    assert session.scalar(select(func.max(MetricStretch.last_step))) < peak  # type: ignore[operator]
    stretches.fold(session, run.id)
    kept = shown(session, run, points=20)
    assert kept[peak] == 1e6
    assert kept.keys() == expected(values, buckets=9)


def test_short_curves_and_later_points_are_read_as_they_are(session: Session, run: Run) -> None:
    values = curve(100)
    write(session, run, values)
    stretches.fold(session, run.id)
    assert shown(session, run, points=500) == values
    last = sorted(values)[-3]
    (series,) = reports.metrics(session, run.id, [NAME], 4, after={NAME: last})
    assert [point.step for point in series.points] == sorted(values)[-2:]
