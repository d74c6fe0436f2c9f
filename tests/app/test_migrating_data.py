"""Migrations keep what is in the tables: rows of any older schema come up whole, and go down again as they were."""

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from app import migrating
from app.models import Base
from tests.app.backups import sums_of
from tests.app.filling import fill

REVISIONS = [one.revision for one in ScriptDirectory.from_config(migrating.config()).walk_revisions()][::-1]
QUICK = {"0001", "0009", REVISIONS[-2]}
"""The first, one in the middle, and that of the last version; the others take minutes together."""


def texts_of(engine: Engine) -> dict[str, list[dict[str, object]]]:
    """Every row of every table."""
    with engine.begin() as connection:
        names = sums_of(engine)
        return {
            name: [row[0] for row in connection.execute(text(f'select to_jsonb(t) from "{name}" t order by t::text'))]
            for name in names
        }


def is_kept(before: dict[str, object], after: list[dict[str, object]]) -> bool:
    """Whether some row still says all that `before` said, in the columns that are still there."""
    return any(all(row.get(name, value) == value for name, value in before.items()) for row in after)


@pytest.mark.parametrize(
    "revision", [pytest.param(one, marks=() if one in QUICK else pytest.mark.slow) for one in REVISIONS[:-1]]
)
def test_rows_of_an_older_schema_come_up_and_go_down_again(engine: Engine, revision: str) -> None:
    migrating.downgrade(engine, revision)
    with engine.begin() as connection:
        filled = fill(connection)
    assert len(filled) >= 10
    before, rows = sums_of(engine), texts_of(engine)

    migrating.upgrade(engine)
    after = texts_of(engine)
    lost = [(name, row) for name, old in rows.items() for row in old if not is_kept(row, after[name])]
    assert lost == []
    with Session(engine) as session:
        for mapper in Base.registry.mappers:
            session.scalars(select(mapper.class_)).unique().all()  # every value is one that the models know

    migrating.downgrade(engine, revision)
    assert sums_of(engine) == before
