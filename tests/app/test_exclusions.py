"""Leaving a labeler out of a run, and taking them in again: what counts, what stays, what is remembered."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import exclusions, labeling
from app.errors import ConflictError, InvalidError
from app.models import Audit, Label, Role
from app.usable import count_training
from tests.app.test_labeling import best, lease
from tests.factories import make_account, make_comparison, make_run


def test_nothing_counts_while_it_holds_and_nothing_is_deleted(session: Session) -> None:
    run, ada, boss = make_run(session), make_account(session), make_account(session, "Eve", Role.RESEARCHER)
    made = [make_comparison(session, run) for _ in range(3)]
    first, second, _ = lease(session, ada, run, 3)
    best(session, ada, first)
    exclusions.exclude(session, run.id, ada.id, boss.id, " too fast ")
    assert count_training(session, run.id) == 0
    session.refresh(made[1])
    session.refresh(made[2])
    assert [one.leased for one in made] == [0, 0, 0]
    assert lease(session, ada, run) == []
    late = best(session, ada, second)
    exclusions.include(session, run.id, ada.id, boss.id)
    assert count_training(session, run.id) == 1  # what came meanwhile stays surplus
    assert [label.surplus for label in session.scalars(select(Label).order_by(Label.created_at))] == [False, True]
    assert session.get_one(Label, late.label_id).surplus
    assert len(lease(session, ada, run, 8)) == 1
    acts = session.scalars(select(Audit.action).where(Audit.actor_id == boss.id).order_by(Audit.created_at))
    assert list(acts) == ["labeler.excluded", "labeler.included"]
    assert labeling.counts(session, ada.id, run.id).mine == 2


def test_refusals(session: Session) -> None:
    run, ada = make_run(session), make_account(session)
    with pytest.raises(InvalidError, match="why"):
        exclusions.exclude(session, run.id, ada.id, None, " ")
    with pytest.raises(ConflictError, match="not excluded"):
        exclusions.include(session, run.id, ada.id, None)
    exclusions.exclude(session, run.id, ada.id, None, "asked to leave")
    with pytest.raises(ConflictError, match="already"):
        exclusions.exclude(session, run.id, ada.id, None, "again")
