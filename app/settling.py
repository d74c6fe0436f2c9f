"""Whether a comparison has a label that trains, kept beside it, so that counting does not read every label.

`Comparison.trains` is false of one that nobody answered yet, and unknown (null) from the moment that one of its labels,
or what they stand on, changes, until the loop looks at it; what is unknown is counted from the labels themselves, so a
count is exact at any time. Comparisons that somebody answered and that still wait for answers stay unknown: so of those
that wait, false are those that nobody touched.
"""

from uuid import UUID

from sqlalchemy import CursorResult, or_, select, update
from sqlalchemy.orm import Session

from app.db import among
from app.models import Comparison, ComparisonState, Label, Run, Verdict
from app.usable import training_labels

MOST = 5_000
"""Comparisons that one look settles; more only after an upgrade or a large import. While a look lasts, what labelers
did since it began leaves dead entries in the index of the queue, which each of them then reads past."""


def settle(
    session: Session, run_id: UUID, verdicts: tuple[Verdict, ...], *, surplus: bool = False, most: int = MOST
) -> int:
    """Find out for comparisons of a run, which the caller has locked, whether they train, where that may stay so.

    Those that somebody changes at this moment are left for the next look.

    Args:
        verdicts: those that the run uses, and `surplus` whether it does.
        most: comparisons at once.
    Returns: how many were settled.
    """
    touched = select(Label.id).where(Label.comparison_id == Comparison.id).exists()
    stays = or_(Comparison.state != ComparisonState.READY, ~touched)
    unknown = (Comparison.run_id == run_id, Comparison.trains.is_(None), stays)
    lock = select(Comparison.id).where(*unknown).limit(most).with_for_update(skip_locked=True, key_share=True)
    ids = session.scalars(lock).all()
    # In a statement of its own: its snapshot sees every label that was written before the locks were had.
    labeled = training_labels(run_id, verdicts, surplus=surplus).where(among(Comparison.id, ids)).subquery()
    found = update(Comparison).where(among(Comparison.id, ids))
    session.execute(found.values(trains=Comparison.id.in_(select(labeled.c.comparison_id))))
    return len(ids)


def unsettle(session: Session, labeler_id: UUID, run_id: UUID | None = None) -> int:
    """Forget it for all that a labeler ever answered (in one run). Locks the runs, so that no look is on its way.

    Returns: how many comparisons are to be looked at again.
    """
    of_run, of_comparison = ((Run.id == run_id,), (Comparison.run_id == run_id,)) if run_id else ((), ())
    session.execute(select(Run.id).where(*of_run).order_by(Run.id).with_for_update(key_share=True))
    theirs = select(Label.comparison_id).where(Label.labeler_id == labeler_id)
    known = (Comparison.id.in_(theirs), Comparison.trains.is_not(None), *of_comparison)
    locked = select(Comparison.id).where(*known).order_by(Comparison.id).with_for_update(key_share=True)
    forgotten = update(Comparison).where(Comparison.id.in_(locked.scalar_subquery())).values(trains=None)
    result = session.execute(forgotten)
    assert isinstance(result, CursorResult)
    return result.rowcount
