"""Flagging: out of the queue for a researcher to see, and back into it."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import labeling, settling
from app.errors import ConflictError, InvalidError
from app.models import Account, Audit, ComparisonState, Run, Verdict
from app.usable import count_training
from tests.app.test_labeling import ada, best, bob, lease, run, state
from tests.factories import make_account, make_comparison

__all__ = ["ada", "bob", "run"]  # fixtures


class TestFlag:
    def test_takes_it_out_of_the_queue_and_is_remembered_once(
        self, session: Session, run: Run, ada: Account, bob: Account
    ) -> None:
        make_comparison(session, run)
        got = lease(session, ada, run)[0]
        labeling.flag(session, ada.id, got.comparison_id, "names a real person")
        labeling.flag(session, ada.id, got.comparison_id, "names a real person")
        assert state(session, got.comparison_id) == ComparisonState.FLAGGED
        assert lease(session, ada, run) == lease(session, bob, run) == []
        detail = session.scalars(select(Audit.detail)).one()
        assert detail == {"comparison": str(got.comparison_id), "reason": "names a real person"}

    def test_put_back_its_answers_count_and_those_it_wants_are_asked_for(
        self, session: Session, run: Run, ada: Account, bob: Account
    ) -> None:
        eve = make_account(session, "Eve")
        made = make_comparison(session, run, wanted=2)
        held = {person.id: lease(session, person, run)[0] for person in (ada, bob)}
        best(session, ada, held[ada.id])
        labeling.flag(session, bob.id, made.id, "a mistake")
        settling.settle(session, run.id, (Verdict.BEST,))
        assert count_training(session, run.id) == 0
        assert labeling.unflag(session, made.id, eve.id) == run.id
        assert (made.state, made.closed_at, count_training(session, run.id)) == (ComparisonState.READY, None, 1)
        assert lease(session, eve, run)[0].comparison_id == made.id
        labeling.flag(session, eve.id, made.id, "again")
        best(session, bob, held[bob.id])  # was on its way
        labeling.unflag(session, made.id, eve.id)
        assert (made.state, made.answers) == (ComparisonState.LABELED, 2)
        with pytest.raises(ConflictError, match="not flagged"):
            labeling.unflag(session, made.id, eve.id)
        acts = session.scalars(select(Audit.action).order_by(Audit.created_at)).all()
        assert acts == ["comparison.flagged", "comparison.unflagged"] * 2

    def test_refusals(self, session: Session, run: Run, ada: Account, bob: Account) -> None:
        make_comparison(session, run)
        got = lease(session, ada, run)[0]
        with pytest.raises(InvalidError):
            labeling.flag(session, ada.id, got.comparison_id, " ")
        with pytest.raises(ConflictError, match="somebody else"):
            labeling.flag(session, bob.id, got.comparison_id, "bad")
        best(session, ada, got)
        with pytest.raises(ConflictError, match="undo the answer"):
            labeling.flag(session, ada.id, got.comparison_id, "bad")
