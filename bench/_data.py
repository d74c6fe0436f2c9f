"""One import or export, measured from inside: `python -m bench._data import URL HOME FILE`."""

import json
import resource
import sys
import time
from pathlib import Path
from uuid import UUID

from app import transfers
from app.db import SessionFactory, make_engine, make_session_factory, session_scope
from app.models import Job
from app.orders import ExportOrder, LabelFormat, PromptOrder
from workers import fencing
from workers.transfers import HANDLERS, Errand

KIB = 1024


def main() -> None:
    """Do it and print the figures as JSON."""
    what, url, home, *words = sys.argv[1:]
    factory = make_session_factory(make_engine(url, pool_size=4))
    with session_scope(factory) as session:
        if what == "import":
            order = PromptOrder(prompt_set=words[0], source=words[0])
            job_id = transfers.import_prompts(session, order, account_id=None).id
        else:
            export = ExportOrder(format=LabelFormat(words[1]))
            job_id = transfers.export_labels(session, UUID(words[0]), export, account_id=None).id
    start, cpu, before = time.monotonic(), time.process_time(), peak_mb()
    result = done(factory, job_id, Path(home))
    figures = {
        "seconds": time.monotonic() - start,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": peak_mb(),
        "start_mb": before,
        "count": result.get("added", result.get("records")),
    }
    print(json.dumps(figures))


def done(factory: SessionFactory, job_id: UUID, home: Path) -> dict[str, int]:
    """Result of the job, done as the control worker does it."""
    with session_scope(factory) as session:
        claim = fencing.claim(session, job_id, worker="bench", stale_seconds=30.0)
    assert claim is not None, "nobody else works here"
    HANDLERS[claim.kind](Errand(claim=claim, factory=factory, home=home, should_stop=lambda: False))
    with session_scope(factory) as session:
        return session.get_one(Job, job_id).result or {}


def peak_mb() -> float:
    """Largest resident size so far, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB


if __name__ == "__main__":
    main()
