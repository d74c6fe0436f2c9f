"""How long a run took from the last label of a batch to the first sample of a policy that was trained on it.

    PREFLOOP_HOME=FOLDER python -m bench turnaround --run newest

Reads a run on the site of that home folder, which must be up. One row per reward model whose policy came to write; in
all is what people would have felt: from the newest label it was fitted to, to the first sample of the first policy that
it trained. Prints a table and one JSON line.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session, aliased

from app import terminal
from app.models import Checkpoint, CheckpointKind, Label, LabelSetItem, Run, Sample

COLUMNS = ("labels", "reward_model_s", "policy_s", "sample_s", "waited_s")


def main(arguments: Sequence[str]) -> None:
    """Read, print."""
    parser = argparse.ArgumentParser(prog="python -m bench turnaround", description=__doc__)
    parser.add_argument("--run", default="newest", help="name of the run")
    options = parser.parse_args(arguments)
    with terminal.database() as session:
        found = session.execute(turnarounds(_run_id(session, options.run)))
        rows = sorted((_row(tuple(one)) for one in found), key=lambda row: row["labels"])
    if not rows:
        sys.exit("no policy of this run has written a sample yet")
    print(
        "| labels | to the reward model, s | to the policy, s | to its first sample, s | in all, s |\n"
        + "|---" * 5
        + "|"
    )
    for row in rows:
        print("| " + " | ".join(f"{row[name]:.0f}" for name in COLUMNS) + " |")
    middle = statistics.median(row["waited_s"] for row in rows)
    print(json.dumps({"bench": "turnaround", "run": options.run, "median_s": middle, "rows": rows}))


def turnarounds(run_id: UUID) -> Select[Any]:
    """Per reward model of a run: its number of labels, and the moments of the last label, the reward model, the first
    policy that it trained, and that policy's first sample."""
    policy, reward = aliased(Checkpoint), aliased(Checkpoint)
    last = (
        select(func.max(Label.created_at))
        .join(LabelSetItem, LabelSetItem.label_id == Label.id)
        .where(LabelSetItem.label_set_id == reward.label_set_id)
        .scalar_subquery()
    )
    size = select(func.count()).where(LabelSetItem.label_set_id == reward.label_set_id).scalar_subquery()
    first = select(func.min(Sample.created_at)).where(Sample.policy_id == policy.id).scalar_subquery()
    return (
        select(size, last, reward.created_at, policy.created_at, first)
        .join(policy, policy.reward_model_id == reward.id)
        .where(reward.run_id == run_id, policy.kind == CheckpointKind.POLICY, first.is_not(None))
        .ext(distinct_on(reward.id))
        .order_by(reward.id, policy.created_at)
    )


def _row(found: Sequence[Any]) -> dict[str, float]:
    labels, last, fitted, published, written = found
    moments = (last, fitted, published, written)
    parts = [(after - before).total_seconds() for before, after in pairwise(moments)]
    return dict(zip(COLUMNS, (labels, *parts, sum(parts)), strict=True))


def _run_id(session: Session, name: str) -> UUID:
    newest = select(Run.id).order_by(Run.created_at.desc())
    found = session.scalar(newest if name == "newest" else newest.where(Run.name == name))
    if found is None:
        sys.exit(f"there is no run {name!r}")
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
