"""Agreement by hand, and a guesser among people who know."""

import random
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import exclusions, reports
from app.db import SessionFactory, session_scope
from app.models import Agreement, Assignment, AssignmentState, ComparisonSample, Label, Verdict
from tests.factories import make_account, make_comparison, make_run
from workers.assessment import assess, is_due, worked_out


def asked(*answers: tuple[str, str, str]) -> dict[str, Any]:
    return worked_out({"answers": answers, "values": 4, "seed": 0})


def test_alpha_and_percent_by_hand() -> None:
    """Three comparisons, two people each: a a, a b, b b. Observed disagreement 1/3; of the six answers three are `a`,
    so expected disagreement is 2 * 3 * 3 / (6 * 5) = 3/5, and alpha is 1 - 5/9."""
    said = [("1", "x", "a"), ("1", "y", "a"), ("2", "x", "a"), ("2", "y", "b"), ("3", "x", "b"), ("3", "y", "b")]
    found = asked(*said, ("4", "x", "a"))  # of which one person tells nothing
    assert (found["comparisons"], found["labels"]) == (3, 6)
    assert found["alpha"]["value"] == pytest.approx(4 / 9)
    assert found["percent"]["value"] == pytest.approx(2 / 3)
    assert found["pairs"] == [{"one": "x", "other": "y", "n": 3, "hits": 2}]
    assert found["percent"]["low"] < 2 / 3 < found["percent"]["high"]


def test_who_guesses_weighs_little() -> None:
    rng = random.Random(0)
    said = []
    for number in range(60):
        truth = str(rng.randrange(4))
        for who, skill in (("a", 0.95), ("b", 0.9), ("c", 0.9), ("guesser", 0.0)):
            said.append((str(number), who, truth if rng.random() < skill else str(rng.randrange(4))))
    weights = asked(*said)["weights"]
    assert weights["guesser"] < 0.3 < 0.75 < min(weights["a"], weights["b"], weights["c"])


def test_worked_out_once_enough_is_new(session_factory: SessionFactory) -> None:
    with session_scope(session_factory) as session:
        run = make_run(session)
        people = [make_account(session, name) for name in "AB"]
        for _ in range(4):
            made = make_comparison(session, run, wanted=2)
            members = select(ComparisonSample.sample_id).where(ComparisonSample.comparison_id == made.id)
            shown = list(session.scalars(members))
            for person in people:
                _answered(session, made.id, person.id, shown)
            made.answers = 2
    assert assess(lambda: session_scope(session_factory), run.id)
    assert not assess(lambda: session_scope(session_factory), run.id)
    with session_scope(session_factory) as session:
        assert not is_due(session, run.id)
        found = reports.agreement(session, run.id)
        assert session.scalars(select(Agreement.labels)).one() == 8
        assert found is not None
        assert found.percent is not None
        assert (found.comparisons, found.percent.value) == (4, 1.0)


def test_worked_out_anew_when_others_count(session: Session) -> None:
    run, ada = make_run(session), make_account(session)
    make_comparison(session, run, wanted=2, answers=2)
    for change in (
        lambda: None,
        lambda: exclusions.exclude(session, run.id, ada.id, None, "too fast"),
        lambda: exclusions.include(session, run.id, ada.id, None),
    ):
        change()
        assert is_due(session, run.id)
        session.add(Agreement(run_id=run.id, labels=2, report={}))
        session.flush()
        assert not is_due(session, run.id)


def _answered(session: Session, comparison_id: Any, person_id: Any, shown: list[Any]) -> None:
    lent = Assignment(
        comparison_id=comparison_id,
        labeler_id=person_id,
        state=AssignmentState.ANSWERED,
        shown=shown,
        expires_at=session.scalars(select(Assignment.expires_at)).first() or _now(session),
    )
    session.add(lent)
    session.flush()
    said = {"comparison_id": comparison_id, "labeler_id": person_id, "assignment_id": lent.id, "revision": 1}
    key = str(uuid4())
    session.add(Label(**said, verdict=Verdict.BEST, chosen_sample_id=sorted(shown)[0], idempotency_key=key))
    session.flush()


def _now(session: Session) -> Any:
    return session.connection().exec_driver_sql("select clock_timestamp()").scalar()
