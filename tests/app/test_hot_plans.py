"""What a labeler waits for reads a few pages of big tables, whatever PostgreSQL knows of them."""

import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, cast
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from app import accounts, admission, hot, progress, reports, selection
from app.hparams import CollectionHParams
from app.models import Role, Run
from tests.factories import make_comparison, make_run

COPIES = 12_000
"""Of a comparison; a third of them waits in the queue, the others were answered by one person."""
MOST_PAGES = 120
"""For each comparison that a statement deals with; each of the tables has hundreds."""
FILL = (
    """
    insert into comparison (id, run_id, prompt_id, policy_id, promotion, purpose, state, wanted, answers, leased)
    select gen_random_uuid(), run_id, prompt_id, policy_id, promotion, purpose,
        case when number % 3 = 0 then 'ready' else 'labeled' end, 5, 0, 0
    from comparison, generate_series(1, :copies) number
    """,
    """
    insert into comparison_sample (comparison_id, slot, sample_id)
    select comparison.id, slot, sample_id from comparison, comparison_sample on conflict do nothing
    """,
    """
    insert into assignment (id, comparison_id, labeler_id, state, shown, expires_at)
    select gen_random_uuid(), id, :labeler, 'answered',
        array(select sample_id from comparison_sample where comparison_id = comparison.id), now()
    from comparison where state = 'labeled'
    """,
    """
    insert into label (id, comparison_id, labeler_id, assignment_id, revision, verdict, chosen_sample_id,
        idempotency_key, surplus, created_at)
    select gen_random_uuid(), comparison_id, labeler_id, id, 1, 'best', shown[1], id::text, false,
        now() - interval '1 hour'
    from assignment
    """,
)
BY_DISAGREEMENT = CollectionHParams(selection="disagreement")
TYPES = {UUID: "uuid", list: "uuid[]", int: "integer", bool: "boolean", timedelta: "interval"}
TABLES = "comparison, comparison_sample, assignment, label"


@pytest.mark.parametrize("analyzed", ["empty", "full", "never"])
def test_a_labeler_costs_a_few_pages_of_big_tables(session: Session, analyzed: str) -> None:
    busy, fresh = (accounts.create_account(session, name, Role.LABELER).id for name in ("busy", "fresh"))
    run = _filled(session, busy, analyzed)
    for labeler in (fresh, busy):
        secret = accounts.open_session(session, labeler, days=1)
        admission.of_session(session, secret, idle_days=None, lock=True)
        # By plans for these very values alone: SQLAlchemy's constants are values too, and PostgreSQL sees that a plan
        # that does not know them could not use the index of the queue.
        work = _asked(session, partial(progress.counts, session, labeler, run.id))
        spread = _asked(session, partial(selection.queued, session, labeler, run, BY_DISAGREEMENT, 4))
        pages = {
            "is there work": _pages(session, *work) / progress.SEVERAL,
            "by disagreement": _pages(session, *spread) / selection.POOL,
            # What the loop notes at its looks: old labels and a long queue cost it nothing.
            "labels per minute": _pages(session, *_asked(session, partial(reports.labels_per_minute, session, run.id))),
            "oldest": _pages(session, *_asked(session, partial(reports.oldest_minutes, session, run.id))),
        }
        for name, (statement, values, comparisons) in _hot(session, labeler, run.id).items():
            for generic in (False, True):
                read = _pages(session, statement, values, generic=generic)
                pages[f"{name}, {'for any' if generic else 'for these'}"] = read / comparisons
        assert max(pages.values()) <= MOST_PAGES, pages


def _hot(session: Session, labeler_id: UUID, run_id: UUID) -> dict[str, tuple[str, dict[str, Any], int]]:
    """Statements with values, and with how many comparisons each deals; the labeler holds four."""
    asked = {"labeler": labeler_id, "run": run_id, "seconds": 600, "minutes": 10}
    lent = hot.lend(session, 4, labeler=labeler_id, run=run_id, seconds=600)
    assert len(lent) == 4
    answer = asked | {
        "id": uuid4(), "comparison": lent[0].comparison_id, "assignment": lent[0].assignment_id, "revision": 1,
        "verdict": "best", "choice": lent[0].shown[0], "key": "one", "milliseconds": 1000, "reason": None,
        "strength": None, "surplus": False, "closing": True, "counted": 1,
    }  # fmt: skip
    return {
        "standing": (hot.STANDING, asked, 4),
        "gold": (hot.HAS_GOLD, asked, 1),
        "past": (hot.HAS_PAST, asked, 1),
        "lend one": (hot.LEND[1], asked, 1),
        "lend four": (hot.LEND[4], asked, 4),
        "renew": (hot.RENEW, asked | {"ids": [one.assignment_id for one in lent]}, 4),
        "find": (hot.FIND, answer, 1),
        "write": (hot.WRITE, answer, 1),
    }


def _filled(session: Session, labeler_id: UUID, analyzed: str) -> Run:
    """A run with big tables, at which PostgreSQL looked while they were empty, since they are full, or never."""
    session.execute(text("set local session_replication_role = replica"))  # right by their making
    if analyzed == "empty":
        session.execute(text(f"analyze {TABLES}"))
    run = make_run(session)
    make_comparison(session, run, wanted=5)
    for statement in FILL:
        session.execute(text(statement), {"copies": COPIES, "labeler": labeler_id})
    if analyzed == "full":
        session.execute(text(f"analyze {TABLES}"))
    session.execute(text("set local session_replication_role = origin"))
    return run


def _asked(session: Session, look: Callable[[], object]) -> tuple[str, dict[str, Any]]:
    """The longest statement of SQLAlchemy's by which something is looked up."""
    asked: list[tuple[str, dict[str, Any]]] = []

    def note(
        _connection: Any, _cursor: Any, statement: str, values: dict[str, Any], _context: Any, _many: bool
    ) -> None:
        asked.append((statement, values))

    event.listen(session.get_bind(), "before_cursor_execute", note)
    try:
        look()
    finally:
        event.remove(session.get_bind(), "before_cursor_execute", note)
    return max(asked, key=lambda one: len(one[0]))


def _pages(session: Session, statement: str, values: dict[str, Any], *, generic: bool = False) -> int:
    """Pages that a statement looks at, by a plan for these values or by one for any; what it did is undone."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    numbered = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", statement)
    types = ", ".join(TYPES.get(type(values[name]), "unknown") for name in names)
    given = ", ".join(f"%({name})s" for name in names)
    with session.begin_nested() as undone:
        cursor = psycopg.ClientCursor(cast(psycopg.Connection, session.connection().connection.driver_connection))
        cursor.execute(f"set local plan_cache_mode = force_{'generic' if generic else 'custom'}_plan".encode())
        cursor.execute(f"prepare asked ({types}) as {numbered}".encode())
        cursor.execute(f"explain (analyze, buffers, format json) execute asked ({given})".encode(), values)
        ((told,),) = cursor.fetchall()
        cursor.execute("deallocate asked")
        undone.rollback()
    return int(told[0]["Plan"]["Shared Hit Blocks"]) + int(told[0]["Plan"]["Shared Read Blocks"])
