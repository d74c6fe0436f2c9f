"""Long curves in stretches: extremes of consecutive points, kept so that nobody has to read a million to draw a page.

Points stay the truth. The control worker folds whole stretches every minute (`fold`); who writes a step again takes
those from there on away (`forget`), and the next minute makes them anew. Both hold a lock of the run's points, so that
no stretch tells of a value that was replaced meanwhile.
"""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, select, text
from sqlalchemy.orm import Session

from app.models import MetricStretch, Run

ROWS = 20
"""Points of a stretch: a twentieth of the rows to read, and fine enough for a few hundred points of a picture."""

_FOLD = text("""
    with recursive names as (
        (select name from metric where run_id = :run order by name limit 1)
        union all
        select (select name from metric where run_id = :run and name > names.name order by name limit 1)
        from names where names.name is not null
    ), folded as (
        select name,
            (select count(*) from metric_stretch where run_id = :run and name = names.name) as stretches,
            (select max(last_step) from metric_stretch where run_id = :run and name = names.name) as last_step
        from names where name is not null
    ), points as (
        select folded.name, folded.stretches, metric.step, array[metric.value, cast(metric.step as float)] as pair,
            (row_number() over (partition by folded.name order by metric.step) - 1) / :rows as part,
            count(*) over (partition by folded.name) as points
        from folded join metric on metric.run_id = :run and metric.name = folded.name
            and metric.step > coalesce(folded.last_step, -1)
    )
    insert into metric_stretch (run_id, name, number, last_step, least, most)
    select :run, name, stretches + part, max(step), min(pair), max(pair)
    from points where part < points / :rows group by name, stretches, part
""")
_THINNED = text("""
    with folded as (
        select name, number, least, most from metric_stretch where run_id = :run and name = any(:names)
    ), ends as (
        select name, count(*) as stretches,
            (select max(last_step) from metric_stretch where run_id = :run and name = folded.name) as last_step
        from folded group by name
    ), tail as (
        select ends.name, array[metric.value, cast(metric.step as float)] as pair,
            ends.stretches + (row_number() over (partition by ends.name order by metric.step) - 1) / :rows as number
        from ends join metric on metric.run_id = :run and metric.name = ends.name and metric.step > ends.last_step
    ), pieces as (
        select name, number, least, most from folded
        union all
        select name, number, min(pair), max(pair) from tail group by name, number
    ), wholes as (
        select name, max(number) + 1 as pieces from pieces group by name
    ), wanted as (
        select name, cast(unnest(array[(min(least))[2], (max(most))[2]]) as bigint) as step
        from pieces join wholes using (name)
        group by name, number / ((pieces + :buckets - 1) / :buckets)
        union select name, (select min(step) from metric where run_id = :run and name = wholes.name) from wholes
        union select name, (select max(step) from metric where run_id = :run and name = wholes.name) from wholes
    )
    select metric.name, metric.step, metric.value, metric.low, metric.high, metric.recorded_at
    from wanted join metric on metric.run_id = :run and metric.name = wanted.name and metric.step = wanted.step
    order by metric.name, metric.step
""")


def fold(session: Session, run_id: UUID) -> None:
    """Make stretches of the points that lie beyond those there are; what fills none is left to the next time."""
    _lock(session, run_id)
    session.execute(_FOLD, {"run": run_id, "rows": ROWS})


def forget(session: Session, run_id: UUID, names: Collection[str], step: int) -> None:
    """The points of these names from `step` on are about to change."""
    _lock(session, run_id)
    changed = (MetricStretch.run_id == run_id, MetricStretch.name.in_(names), MetricStretch.last_step >= step)
    session.execute(delete(MetricStretch).where(*changed))


def long(session: Session, run_id: UUID, names: Collection[str], *, buckets: int) -> list[str]:
    """The names with so many stretches that `buckets` of them make a picture."""
    counted = select(MetricStretch.name).where(MetricStretch.run_id == run_id, MetricStretch.name.in_(names))
    return list(session.scalars(counted.group_by(MetricStretch.name).having(func.count() >= buckets)))


def thinned(session: Session, run_id: UUID, names: Sequence[str], *, buckets: int) -> Sequence[Row[*tuple[Any, ...]]]:
    """Name, step, value, low, high and time of the points with the smallest and largest value in each of at most
    `buckets` equal rows of stretches, and of the first and last point, in order."""
    asked = {"run": run_id, "names": list(names), "rows": ROWS, "buckets": buckets}
    return session.execute(_THINNED, asked).all()


def _lock(session: Session, run_id: UUID) -> None:
    # The row first, for whoever writes a point needs it too: in the other order two could wait for each other.
    session.execute(select(Run.id).where(Run.id == run_id).with_for_update(read=True, key_share=True))
    key = func.hashtextextended(f"metrics:{run_id}", 0)
    session.execute(select(func.pg_advisory_xact_lock(key)))
