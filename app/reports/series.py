"""Curves: metrics and labels over time, thinned where they are long without losing their extremes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, CompoundSelect, Float, cast, func, select, union
from sqlalchemy.dialects.postgresql import ARRAY, array
from sqlalchemy.orm import Session

from app import stretches, usable
from app.hparams import RunHParams
from app.models import Metric, Run

POINTS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One value; NaN and infinities are kept as they were measured."""

    step: int
    value: float
    low: float | None
    high: float | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points of one name in order of steps."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    name: str
    first: int
    last: int
    count: int


def metrics(
    session: Session,
    run_id: UUID,
    names: Sequence[str],
    points: int = POINTS,
    *,
    after: Mapping[str, int] | None = None,
) -> tuple[Series, ...]:
    """One series per name, in the order asked, empty where nothing was recorded.

    Args:
        points: at most so many per name (at least 4). Of a longer series the smallest and the largest value of each
            stretch of steps stay, and the first and last point.
        after: per name the last step known already; only later ones are given.
    """
    known, points = dict(after or {}), max(points, 4)
    whole = {name for name in names if name not in known}
    found = _of_stretches(session, run_id, whole, buckets=(points - 2) // 2)
    for name in dict.fromkeys(names):
        if name not in found:
            found[name] = _series(session, run_id, name, _span(session, run_id, name, known.get(name)), points)
    return tuple(found[name] for name in names)


def last_steps(session: Session, run_id: UUID, names: Sequence[str]) -> dict[str, int]:
    """The last step of each name that has any: a few index look-ups, cheap enough to ask every second."""
    wanted = func.unnest(cast(list(names), ARRAY(Metric.name.type))).table_valued("name").render_derived()
    last = select(func.max(Metric.step)).where(Metric.run_id == run_id, Metric.name == wanted.c.name).scalar_subquery()
    rows = session.execute(select(wanted.c.name, last)).all()
    return {name: step for name, step in rows if step is not None}


def labels_over_time(session: Session, run: Run, points: int = POINTS) -> Series:
    """Labels that may train, counted up over time; `step` is seconds since the run was created.

    A label counts from the moment it was given, by today's standing: one taken back later is gone from the whole curve.
    """
    hparams = RunHParams.model_validate(run.hparams)
    used, surplus = hparams.reward.used_verdicts, hparams.reward.uses_surplus
    label = usable.training_labels(run.id, used, surplus=surplus).subquery()
    elapsed = func.extract("epoch", label.c.created_at - run.created_at)
    longest = session.scalar(select(func.max(elapsed))) or 0
    width = max(1, -(-int(longest) // points))
    bucket = func.ceil(elapsed / width) * width
    per_bucket = select(bucket.label("step"), func.count().label("given")).group_by(bucket).subquery()
    total = func.sum(per_bucket.c.given).over(order_by=per_bucket.c.step)
    rows = session.execute(select(per_bucket.c.step, total).order_by(per_bucket.c.step)).all()
    return Series(name="labels/usable", points=tuple(_counted(run, int(step), int(count)) for step, count in rows))


def _counted(run: Run, seconds: int, count: int) -> Point:
    at = run.created_at + timedelta(seconds=seconds)
    return Point(step=seconds, value=float(count), low=None, high=None, recorded_at=at)


def _rows_of(run_id: UUID, name: str, after: int | None) -> list[ColumnElement[bool]]:
    later = [] if after is None else [Metric.step > after]
    return [Metric.run_id == run_id, Metric.name == name, *later]


def _span(session: Session, run_id: UUID, name: str, after: int | None) -> _Span | None:
    figures = select(func.min(Metric.step), func.max(Metric.step), func.count())
    first, last, count = session.execute(figures.where(*_rows_of(run_id, name, after))).one()
    return None if count == 0 else _Span(name=name, first=first, last=last, count=count)


def _of_stretches(session: Session, run_id: UUID, names: set[str], *, buckets: int) -> dict[str, Series]:
    """Curves so long that their stretches make the picture, in one look."""
    long = stretches.long(session, run_id, names, buckets=buckets) if names else []
    if not long:
        return {}
    points: dict[str, list[Point]] = {name: [] for name in long}
    for name, step, value, low, high, at in stretches.thinned(session, run_id, long, buckets=buckets):
        points[name].append(_point(step, value, low, high, at))
    return {name: Series(name=name, points=tuple(those)) for name, those in points.items()}


def _series(session: Session, run_id: UUID, name: str, span: _Span | None, points: int) -> Series:
    if span is None:
        return Series(name=name, points=())
    query = select(Metric.step, Metric.value, Metric.low, Metric.high, Metric.recorded_at).where(
        *_rows_of(run_id, name, span.first - 1), Metric.step <= span.last
    )
    if span.count > points:
        query = query.where(Metric.step.in_(_extremes(run_id, span, buckets=(points - 2) // 2)))
    rows = session.execute(query.order_by(Metric.step)).all()
    return Series(name=name, points=tuple(_point(*row) for row in rows))


def _point(step: int, value: float, low: float | None, high: float | None, recorded_at: datetime) -> Point:
    return Point(step=step, value=value, low=low, high=high, recorded_at=recorded_at)


def _extremes(run_id: UUID, span: _Span, *, buckets: int) -> CompoundSelect[int]:
    """Steps of the smallest and largest value in each of `buckets` equal stretches, and the first and last step."""
    stretch = cast(Metric.step - span.first, BigInteger) * buckets // (span.last - span.first + 1)
    pair = ARRAY(Float)
    value_at = array([Metric.value, cast(Metric.step, Float)])  # arrays compare by value first, then by step
    per_stretch = (
        select(func.min(value_at, type_=pair).label("least"), func.max(value_at, type_=pair).label("most"))
        .where(*_rows_of(run_id, span.name, span.first - 1), Metric.step <= span.last)
        .group_by(stretch)
        .cte()
    )
    return union(
        select(cast(per_stretch.c.least[2], BigInteger)),
        select(cast(per_stretch.c.most[2], BigInteger)),
        select(cast(span.first, BigInteger)),
        select(cast(span.last, BigInteger)),
    )


def metric_names(session: Session, run_id: UUID) -> list[str]:
    """Names of all metrics that a run has, by one index look-up for each."""
    first = select(func.min(Metric.name).label("name")).where(Metric.run_id == run_id).cte(recursive=True)
    after = select(func.min(Metric.name)).where(Metric.run_id == run_id, Metric.name > first.c.name).scalar_subquery()
    names = first.union_all(select(after).where(first.c.name.is_not(None)))
    return [name for name in session.scalars(select(names.c.name)) if name is not None]
