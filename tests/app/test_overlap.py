"""How many people answer a comparison, and what becomes of an answer that is no longer wanted."""

from sqlalchemy.orm import Session

from app import labeling
from app.models import ComparisonState, Exclusion, Label
from app.usable import count_training
from tests.app.test_labeling import best, lease, run_out, undo
from tests.factories import make_account, make_comparison, make_run


def test_surplus_can_be_taken_back_and_answered_again(session: Session) -> None:
    run, ada, bob = make_run(session), make_account(session, "Ada"), make_account(session, "Bob")
    made = make_comparison(session, run)
    late = lease(session, ada, run)[0]
    run_out(session)
    best(session, bob, lease(session, bob, run)[0])
    back = undo(session, ada, best(session, ada, late))
    assert session.get_one(Label, best(session, ada, back).label_id).surplus
    assert (made.state, made.answers, made.leased) == (ComparisonState.LABELED, 1, 0)
    assert labeling.counts(session, ada.id, run.id).mine == 1


def test_as_many_people_answer_as_it_wants(session: Session) -> None:
    run = make_run(session)
    made = make_comparison(session, run, wanted=3)
    people = [make_account(session, name) for name in "ABCD"]
    held = [lease(session, person, run) for person in people]
    assert [len(got) for got in held] == [1, 1, 1, 0]
    for person, got in zip(people[:3], held, strict=False):
        assert made.state == ComparisonState.READY
        best(session, person, got[0])
        assert lease(session, person, run) == []
    assert (made.state, made.answers, made.leased) == (ComparisonState.LABELED, 3, 0)
    assert count_training(session, run.id) == 1


def test_of_somebody_excluded_nothing_counts(session: Session) -> None:
    run, ada, bob = make_run(session), make_account(session, "Ada"), make_account(session, "Bob")
    for _ in range(2):
        make_comparison(session, run)
    first, second = lease(session, ada, run, 2)
    best(session, ada, first)
    session.add(Exclusion(run_id=run.id, labeler_id=ada.id, reason="asked to leave"))
    best(session, ada, second)
    assert count_training(session, run.id, surplus=True) == 0
    assert lease(session, bob, run)[0].comparison_id == second.comparison_id
