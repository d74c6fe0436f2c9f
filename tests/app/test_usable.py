"""Which labels count."""

import pytest
from sqlalchemy import func, update
from sqlalchemy.orm import Session

from app import labeling, leasing, usable
from app.models import Account, Comparison, ComparisonState, Purpose, Split, Verdict
from tests.factories import make_account, make_comparison, make_prompt, make_run


def label(session: Session, comparison: Comparison, *, verdict: Verdict = Verdict.BEST) -> labeling.Recorded:
    """A new person's answer to a comparison."""
    person = make_account(session)
    leases = leasing.lease(session, person.id, comparison.run_id, count=8, lease_seconds=60)
    mine = next(one for one in leases if one.comparison_id == comparison.id)
    choice = mine.samples[0][0] if verdict is Verdict.BEST else None
    return labeling.record(session, person.id, comparison.id, verdict=verdict, choice=choice, key="k")


def test_a_best_label_on_a_train_prompt_trains(session: Session) -> None:
    run = make_run(session)
    label(session, make_comparison(session, run))
    assert usable.count_training(session, run.id) == 1


@pytest.mark.parametrize(
    ("asked", "count"),
    [((Verdict.BEST,), 0), ((Verdict.BEST, Verdict.TIE), 1), ((Verdict.BEST, Verdict.TIE, Verdict.NONE), 3)],
)
def test_ties_and_none_count_only_where_the_run_uses_them_and_skips_never(
    session: Session, asked: tuple[Verdict, ...], count: int
) -> None:
    run = make_run(session)
    for verdict in (Verdict.TIE, Verdict.NONE, Verdict.NONE, Verdict.SKIP):
        label(session, make_comparison(session, run), verdict=verdict)
    assert usable.count_training(session, run.id, asked) == count


def test_valid_prompts_and_measuring_comparisons_train_nothing(session: Session) -> None:
    run = make_run(session)
    held_out = make_prompt(session, split=Split.VALID)
    label(session, make_comparison(session, run, prompt=held_out))
    label(session, make_comparison(session, run, purpose=Purpose.EVALUATION))
    assert usable.count_training(session, run.id) == 0
    assert len(session.scalars(usable.usable_labels(run.id)).all()) == 2


def test_what_is_undone_flagged_or_by_someone_disabled_does_not_count(session: Session) -> None:
    run = make_run(session)
    recorded, compared = [], []
    for _ in range(3):  # one at a time, for whoever comes gets all that lies ready
        compared.append(make_comparison(session, run))
        recorded.append(label(session, compared[-1]))
    assert usable.count_training(session, run.id) == 3
    rows = {row.id: row for row in session.scalars(usable.usable_labels(run.id))}
    first, _, last = (rows[one.label_id] for one in recorded)
    labeling.undo(session, first.labeler_id, first.id, lease_seconds=60)
    assert usable.count_training(session, run.id) == 2
    compared[1].state = ComparisonState.FLAGGED
    session.flush()
    assert usable.count_training(session, run.id) == 1
    session.execute(update(Account).where(Account.id == last.labeler_id).values(disabled_at=func.now()))
    assert usable.count_training(session, run.id) == 0
