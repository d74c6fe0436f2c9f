"""A labeler's own work: the last answers that stand, the pace, what the answers changed."""

from uuid import uuid4

import pytest
from sqlalchemy.orm import Session

from app import history, labeling
from app.history import Effect
from app.labeling import Lease, Recorded
from app.models import Account, CheckpointKind, LabelSet, LabelSetItem, Run, Verdict
from tests.factories import make_account, make_checkpoint, make_comparison, make_run


@pytest.fixture
def run(session: Session) -> Run:
    made = make_run(session)
    for _ in range(14):
        make_comparison(session, made)
    return made


@pytest.fixture
def ada(session: Session) -> Account:
    return make_account(session)


def lease(session: Session, labeler: Account, run: Run) -> Lease:
    return labeling.lease(session, labeler.id, run.id, count=1, lease_seconds=60)[0]


def best(session: Session, labeler: Account, got: Lease, milliseconds: int | None = None) -> Recorded:
    return labeling.record(
        session,
        labeler.id,
        got.comparison_id,
        verdict=Verdict.BEST,
        choice=got.samples[1][0],
        key=str(uuid4()),
        milliseconds=milliseconds,
    )


def test_the_last_ten_that_stand_newest_first(session: Session, run: Run, ada: Account) -> None:
    given = []
    for _ in range(12):
        got = lease(session, ada, run)
        given.append((got, best(session, ada, got)))
    labeling.undo(session, ada.id, given[-1][1].label_id, lease_seconds=60)
    found = history.recent(session, ada.id, run.id)
    assert [one.label_id for one in found] == [label.label_id for _, label in reversed(given[1:-1])]
    assert [one.lease.samples for one in found] == [got.samples for got, _ in reversed(given[1:-1])]
    assert {one.choice for one in found} == {got.samples[1][0] for got, _ in given[1:-1]}
    assert history.recent(session, make_account(session, "Bob").id, run.id) == []


def test_of_a_changed_answer_the_change_stands(session: Session, run: Run, ada: Account) -> None:
    label = best(session, ada, lease(session, ada, run))
    said = labeling.Said(verdict=Verdict.TIE, choice=None)
    changed = labeling.revise(session, ada.id, label.label_id, said, key="k")
    (one,) = history.recent(session, ada.id, run.id)
    assert (one.label_id, one.revision, one.verdict) == (changed.label_id, 2, Verdict.TIE)


def test_pace_is_the_median_of_each_day(session: Session, run: Run, ada: Account) -> None:
    for milliseconds in (1_000, 2_000, 60_000, None):
        best(session, ada, lease(session, ada, run), milliseconds)
    (day,) = history.pace(session, ada.id, run.id)
    assert (day.answers, day.seconds) == (4, 2.0)


def test_which_reward_models_and_policies_learned_from_me(session: Session, run: Run, ada: Account) -> None:
    bob = make_account(session, "Bob")
    mine = [best(session, ada, lease(session, ada, run)).label_id for _ in range(2)]
    theirs = best(session, bob, lease(session, bob, run)).label_id
    for number, ids in enumerate(([theirs], [mine[0], theirs], [*mine, theirs])):
        label_set = LabelSet(run_id=run.id, size=len(ids))
        session.add(label_set)
        session.flush()
        session.add_all(LabelSetItem(label_set_id=label_set.id, label_id=one) for one in ids)
        model = make_checkpoint(
            session, run, kind=CheckpointKind.REWARD_MODEL, number=number, label_set_id=label_set.id
        )
        if number == 1:
            for policy in (3, 4):
                make_checkpoint(session, run, number=policy, reward_model_id=model.id)
    assert history.effects(session, ada.id, run.id) == [
        Effect(number=2, mine=2, labels=3, policies=()),
        Effect(number=1, mine=1, labels=2, policies=(3, 4)),
    ]
