"""How PostgreSQL goes about the statements of a lease and a label: EXPLAIN ANALYZE, undone at the end."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from app import admission, hot
from bench._load_site import Site

BIG = {"comparison", "comparison_sample", "assignment", "label", "sample", "prompt"}
"""Tables that grow."""


def plans(site: Site, run_id: UUID) -> dict[str, dict[str, Any]]:
    """Milliseconds and indexes of each statement, and which growing tables it reads from end to end, for a labeler who
    has done nothing yet; planned as after a sign-in that locks the account."""
    with site.factory() as session:
        asked_by = admission.LOCKING.format("select id from account where name = 'labeler 0'")
        labeler = hot.rows(session, asked_by)[0][0]
        asked = {"labeler": labeler, "run": run_id}
        (lent,) = hot.lend(session, 1, seconds=600, **asked)
        answer = {
            "id": uuid4(), "comparison": lent.comparison_id, "assignment": lent.assignment_id, "revision": 1,
            "verdict": "best", "choice": lent.shown[0], "key": "one", "milliseconds": 1000, "reason": None,
            "strength": None, "surplus": False, "closing": True, "counted": 1,
        }  # fmt: skip
        found = {
            "standing": _plan(session, hot.STANDING, asked),
            "lend": _plan(session, hot.LEND[1], asked | {"seconds": 600}),
            "find": _plan(session, hot.FIND, asked | answer),
            "write": _plan(session, hot.WRITE, asked | answer),
            "gold": _plan(session, hot.HAS_GOLD, asked),
        }
        session.rollback()
    return found


def _plan(session: Session, statement: str, values: dict[str, Any]) -> dict[str, Any]:
    explained = f"explain (analyze, format json) {statement}"
    ((told,),) = hot.rows(session, explained, **values)
    (plan,) = told if isinstance(told, list) else json.loads(told)
    return summary(plan)


def summary(plan: dict[str, Any]) -> dict[str, Any]:
    """Of what EXPLAIN (ANALYZE, FORMAT JSON) says: milliseconds, indexes, growing tables read from end to end."""
    nodes = list(_nodes(plan["Plan"]))
    whole = sorted(BIG & {one["Relation Name"] for one in nodes if one["Node Type"] == "Seq Scan"})
    indexes = sorted({one["Index Name"] for one in nodes if "Index Name" in one})
    return {"ms": round(plan["Planning Time"] + plan["Execution Time"], 2), "indexes": indexes, "read_whole": whole}


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", []):
        yield from _nodes(inner)
