"""Head-to-heads in a session of their own: who gets what, and that the queue knows nothing of it."""

from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import comparisons, contest_sessions, contests, exclusions, labeling, usable
from app.errors import ConflictError, InvalidError
from app.kinds import Split, Verdict
from app.models import Account, Contest, ContestItem, Purpose, Run
from tests.factories import make_account, make_checkpoint, make_comparison, make_prompt, make_run


@pytest.fixture
def run(session: Session) -> Run:
    made = make_run(session)
    make_checkpoint(session, made, number=0)
    for _ in range(12):
        make_prompt(session, split=Split.TEST)
    return made


def held(session: Session, run: Run, *, own_session: bool = True) -> Contest:
    """A contest of five comparisons of two people each, as its job leaves it."""
    asked = {"prompts": 5, "per_side": 1, "labelers": 2, "seed": 0, "actor_id": None}
    made = contests.create(session, run.id, left="policy 0", right="reference", **asked, own_session=own_session)  # type: ignore[arg-type]
    for _ in range(5):
        purpose = Purpose.SESSION if own_session else Purpose.EVALUATION
        one = make_comparison(session, run, texts=("left", "right"), purpose=purpose, wanted=2)
        session.add(ContestItem(comparison_id=one.id, contest_id=made.id, left_samples=[]))
    made.written_at = session.scalar(select(func.clock_timestamp()))
    session.flush()
    return made


def answer_all(session: Session, person: Account, contest_id: UUID) -> list[UUID]:
    """Answer until nothing comes any more; the comparisons in their order."""
    answered: list[UUID] = []
    while lent := contest_sessions.lease(session, person.id, contest_id, count=2, lease_seconds=60):
        for one in lent:
            choice = one.samples[0][0]
            said = {"verdict": Verdict.BEST, "choice": choice, "key": str(uuid4())}
            labeling.record(session, person.id, one.comparison_id, **said)  # type: ignore[arg-type]
            answered.append(one.comparison_id)
    return answered


def test_the_queue_knows_nothing_of_a_session(session: Session, run: Run) -> None:
    contest, ada = held(session, run), make_account(session)
    assert labeling.lease(session, ada.id, run.id, count=8, lease_seconds=60) == []
    assert comparisons.ready_count(session, run.id) == 0
    waiting = make_comparison(session, run)
    mine = contest_sessions.lease(session, ada.id, contest.id, count=3, lease_seconds=60)
    assert len(mine) == 3
    assert [one.comparison_id for one in labeling.lease(session, ada.id, run.id, count=8, lease_seconds=60)] == [
        waiting.id
    ]
    again = contest_sessions.lease(session, ada.id, contest.id, count=3, lease_seconds=60)
    assert [one.assignment_id for one in again] == [one.assignment_id for one in mine]


def test_everybody_answers_all_in_an_order_of_their_own_and_no_more_than_were_asked(session: Session, run: Run) -> None:
    contest = held(session, run)
    ada, bob, cleo = (make_account(session, name) for name in ("Ada", "Bob", "Cleo"))
    assert contest_sessions.waiting(session, ada.id, run.id) == [
        contest_sessions.Waiting(contest_id=contest.id, left=5)
    ]
    first, second = answer_all(session, ada, contest.id), answer_all(session, bob, contest.id)
    assert (len(set(first)), set(first), first != second) == (5, set(second), True)
    assert answer_all(session, cleo, contest.id) == []
    assert contest_sessions.waiting(session, cleo.id, run.id) == []
    progress = contest_sessions.counts(session, ada.id, contest.id)
    assert (progress.mine, progress.team, progress.goal) == (5, 10, 10)
    assert progress.waiting_for == contest_sessions.NOTHING_LEFT
    assert usable.count_training(session, run.id) == 0
    assert session.scalars(usable.usable_labels(run.id)).all() == []


def test_who_is_left_out_of_the_run_gets_none_of_it(session: Session, run: Run) -> None:
    contest, ada = held(session, run), make_account(session)
    exclusions.exclude(session, run.id, ada.id, None, "sleeps")
    assert contest_sessions.lease(session, ada.id, contest.id, count=2, lease_seconds=60) == []
    assert contest_sessions.waiting(session, ada.id, run.id) == []


def test_a_contest_of_the_queue_has_no_session(session: Session, run: Run) -> None:
    contest, ada = held(session, run, own_session=False), make_account(session)
    with pytest.raises(ConflictError, match="labeling queue"):
        contest_sessions.lease(session, ada.id, contest.id, count=2, lease_seconds=60)
    assert len(labeling.lease(session, ada.id, run.id, count=8, lease_seconds=60)) == 5
    with pytest.raises(InvalidError, match="1 to 8"):
        contest_sessions.lease(session, ada.id, contest.id, count=9, lease_seconds=60)
