"""Plans of the statements that people and workers wait for, with millions of rows: which indexes, which tables whole.

Rows are made by PostgreSQL itself, narrow and right by their making, in a server of this benchmark's own, whose folder
is removed at the end. Nothing here is a load test: see `python -m bench load` for that.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

from app import accounts, migrating, reports, settling
from app.db import SessionFactory, make_engine, make_session_factory, session_scope
from app.embedded import Postgres
from app.models import Role, Run, Verdict
from app.supervisor import Supervisor
from app.web.dashboard import CURVES
from bench import _load_plans, _load_site
from workers import plan

TABLES = ("comparison", "comparison_sample", "assignment", "label")
READY = 20_000
IN_ORDER = "uuidv7()"
"""Ids in order fill an index from its end, many times faster; a plan does not depend on it."""


def main() -> None:
    """Fill, explain, print JSON, clean up."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--comparisons", type=int, default=1_000_000)
    asked.add_argument("--labels", type=int, default=500_000)
    words = asked.parse_args()
    with served() as (postgres, engine):
        factory = make_session_factory(engine)
        began = time.monotonic()
        run_id = fill(factory, comparisons=words.comparisons, labels=words.labels)
        analyze(engine)
        facts = {"comparisons": words.comparisons, "labels": words.labels, "fill_s": round(time.monotonic() - began)}
        plans = explained(postgres, engine, factory, run_id)
        print(json.dumps(facts | {"bytes": sizes(factory), "plans": plans}, indent=1))


@contextmanager
def served() -> Iterator[tuple[Postgres, Engine]]:
    """A fresh server that need not survive a power cut."""
    folder = Path(tempfile.mkdtemp(prefix="prefloop-scale-", dir="/var/tmp"))
    folder.chmod(0o711)
    server = Postgres(data=folder / "postgres", durable=False)
    supervisor = Supervisor(folder / "logs", print)
    try:
        server.prepare()
        supervisor.start(server.child())
        supervisor.wait("postgres", server.is_ready)
        server.ensure_database()
        engine = make_engine(server.url(), pool_size=2)
        migrating.upgrade(engine)
        yield server, engine
        engine.dispose()
    finally:
        supervisor.stop()
        shutil.rmtree(folder, ignore_errors=True)


def fill(factory: SessionFactory, *, comparisons: int, labels: int) -> UUID:
    """A run with that many comparisons, READY of them free, and as many labels of one labeler."""
    with session_scope(factory) as session:
        run, policy = _load_site.make_run(session)
        session.execute(text(_load_site.UNCHECKED))
        common = {"run": run.id, "policy": policy.id, "prompts": _load_site.PROMPTS}
        counts = {"labeled": labels, "retired": comparisons - labels - READY, "ready": READY}
        for made, count in counts.items():
            answers = int(made == "labeled")
            values = common | {"state": made, "wanted": 1, "answers": answers, "count": count, "days": 2}
            step(session, _load_site.FILL, values)
        step(session, _load_site.MEMBERS, {})
        step(session, _load_site.ASSIGNED, {"labeler": accounts.create_account(session, "earlier", Role.LABELER).id})
        step(session, _load_site.LABELED, {})
        accounts.create_account(session, "labeler 0", Role.LABELER)
        while settling.settle(session, run.id, (Verdict.BEST,)):  # as the looks of the loop would have by then
            pass
        return run.id


def step(session: Session, statement: str, values: dict[str, Any]) -> None:
    """One statement of the fill, told with its time."""
    began = time.monotonic()
    rows: Any = session.execute(text(statement.replace("gen_random_uuid()", IN_ORDER)), values)
    print(f"{rows.rowcount} rows in {time.monotonic() - began:.0f} s", flush=True)


def analyze(engine: Engine) -> None:
    """As autovacuum would have by then."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum analyze"))


def sizes(factory: SessionFactory) -> dict[str, int]:
    """Of the tables with their indexes."""
    with session_scope(factory) as session:
        return {
            name: session.scalar(text("select pg_total_relation_size(cast(:name as regclass))"), {"name": name}) or 0
            for name in TABLES
        }


def explained(postgres: Postgres, engine: Engine, factory: SessionFactory, run_id: UUID) -> dict[str, Any]:
    """By who waits for it: the statements of a lease and a label, of the dashboard, of a scrape, of the loop's look."""
    nobody = Supervisor(postgres.data.parent / "logs", print)
    site = _load_site.Site(host="", port=0, engine=engine, factory=factory, supervisor=nobody)
    looks: dict[str, Callable[[Session], object]] = {
        "dashboard": lambda session: reports.run_status(session, run_id, CURVES),
        "metrics": reports.plant,
        "loop": lambda session: plan.read_state(session, session.get_one(Run, run_id)),
    }
    found: dict[str, Any] = {"label": _load_plans.plans(site, run_id)}
    for name, look in looks.items():
        found[name] = [explain(engine, *one) for one in statements(engine, factory, look)]
    return found


def statements(engine: Engine, factory: SessionFactory, look: Callable[[Session], object]) -> list[tuple[str, Any]]:
    """What a look asks PostgreSQL."""
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, values: Any, _context: Any, _many: bool) -> None:
        asked.append((statement, values))

    event.listen(engine, "before_cursor_execute", note)
    try:
        with session_scope(factory) as session:
            look(session)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return asked


def explain(engine: Engine, statement: str, values: Any) -> dict[str, Any]:
    """Milliseconds, indexes, and the growing tables that are read from end to end."""
    with engine.connect() as connection:
        ((told,),) = connection.exec_driver_sql(f"explain (analyze, format json) {statement}", values).all()
        connection.rollback()
    return _load_plans.summary(told[0]) | {"statement": " ".join(statement.split())[:160]}


if __name__ == "__main__":
    main()
