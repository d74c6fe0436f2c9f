"""Work out the agreement of a run's labelers when enough is new, in a process of its own, and keep it."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from app import runs
from app.comparisons import CLOSING
from app.models import Account, Agreement, Comparison, ComparisonSample, Exclusion, Label
from app.usable import QUEUED, stands

NEW_SHARE = 0.05
"""Worked out again when so many more labels are there, as a share of the last count,"""
NEW_LABELS = 10
"""but at least so many."""
TIMEOUT_SECONDS = 600.0

log = structlog.get_logger()


def is_due(session: Session, run_id: UUID) -> bool:
    """Whether enough labels of comparisons with several answers came since the last time, or other labelers count."""
    newest = select(Agreement.labels, Agreement.created_at).where(Agreement.run_id == run_id)
    before, since = session.execute(newest.order_by(Agreement.created_at.desc()).limit(1)).first() or (None, None)
    several = select(func.sum(Comparison.answers)).where(Comparison.run_id == run_id, Comparison.answers > 1)
    labels = session.scalar(several) or 0
    if before is None or since is None or labels == 0:
        return labels > 0
    return labels - before >= max(NEW_LABELS, NEW_SHARE * before) or _others_count(session, run_id, since)


def _others_count(session: Session, run_id: UUID, since: datetime) -> bool:
    """Whether somebody was left out of the run or taken in again since then."""
    changed = or_(Exclusion.created_at > since, Exclusion.lifted_at > since)
    return session.scalar(select(Exclusion.id).where(Exclusion.run_id == run_id, changed).limit(1)) is not None


def assess(transaction: Callable[[], AbstractContextManager[Session]], run_id: UUID) -> bool:
    """Keep a new report if one is due; False if none was."""
    with transaction() as session:
        if not is_due(session, run_id):
            return False
        asked = _asked(session, run_id)
        counted = select(func.sum(Comparison.answers)).where(Comparison.run_id == run_id, Comparison.answers > 1)
        labels = session.scalar(counted) or 0
    report = worked_out(asked)
    with transaction() as session:
        session.add(Agreement(run_id=run_id, labels=labels, report=report))
    log.info("agreement_assessed", run=str(run_id), labels=labels)
    return True


def _asked(session: Session, run_id: UUID) -> dict[str, Any]:
    """All standing answers to comparisons that several people answered, each choice by its slot."""
    hparams = runs.hparams_of(runs.get(session, run_id))
    member = and_(
        ComparisonSample.comparison_id == Label.comparison_id, ComparisonSample.sample_id == Label.chosen_sample_id
    )
    query = (
        select(Label.comparison_id, Label.labeler_id, ComparisonSample.slot, Label.verdict)
        .join(Comparison, Comparison.id == Label.comparison_id)
        .join(Account, Account.id == Label.labeler_id)
        .outerjoin(ComparisonSample, member)
        .where(
            Comparison.run_id == run_id,
            Comparison.purpose.in_(QUEUED),
            Comparison.answers > 1,
            Label.verdict.in_(CLOSING),
            stands(),
        )
    )
    answers = [
        (str(comparison), str(labeler), verdict.value if slot is None else str(slot))
        for comparison, labeler, slot, verdict in session.execute(query)
    ]
    return {"answers": answers, "values": hparams.task.samples_per_comparison, "seed": hparams.seed}


def worked_out(asked: dict[str, Any]) -> dict[str, Any]:
    """What `workers.agreement` says. Raises: CalledProcessError if it fails, as without its libraries."""
    done = subprocess.run(
        (sys.executable, "-P", "-m", "workers.agreement"),
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=True,
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report
