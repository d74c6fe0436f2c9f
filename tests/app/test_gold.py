"""Gold: copies with a known answer, which train nothing and tell how carefully people label."""

from typing import Literal
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import gold, labeling
from app.errors import ConflictError, InvalidError, NotFoundError
from app.hparams import PRESETS
from app.labeling import Lease
from app.models import Account, Comparison, ComparisonSample, ComparisonState, Gold, Label, Role, Run, Verdict
from app.usable import count_training
from tests.factories import make_account, make_comparison, make_run

SMALL = PRESETS["sentiment-small"]


@pytest.fixture
def run(session: Session) -> Run:
    """Every lease is a gold comparison, where there is one."""
    always = SMALL.model_copy(update={"collection": SMALL.collection.model_copy(update={"gold_share": 1.0})})
    return make_run(session, hparams=always.model_dump(mode="json"))


@pytest.fixture
def ada(session: Session) -> Account:
    return make_account(session)


@pytest.fixture
def researcher(session: Session) -> Account:
    return make_account(session, "Rosa", Role.RESEARCHER)


def answer(session: Session, labeler: Account, run: Run, text: str | None) -> Lease:
    """Answer one lease with the sample of that text, or with a tie."""
    got = labeling.lease(session, labeler.id, run.id, count=1, lease_seconds=60)[0]
    choice = next((sample for sample, shown in got.samples if shown == text), None)
    verdict = Verdict.TIE if choice is None else Verdict.BEST
    labeling.record(session, labeler.id, got.comparison_id, verdict=verdict, choice=choice, key=str(uuid4()))
    return got


def answered(session: Session, run: Run, ada: Account) -> tuple[UUID, dict[str, UUID]]:
    """A comparison of which Ada picked `b`: its id, and its samples by text."""
    make_comparison(session, run, texts=("a", "b", "c", "d"))
    got = answer(session, ada, run, "b")
    return got.comparison_id, {text: sample for sample, text in got.samples}


def test_what_was_answered_can_become_gold_once(session: Session, run: Run, ada: Account, researcher: Account) -> None:
    source, samples = answered(session, run, ada)
    (candidate,) = gold.candidates(session, run.id)
    assert candidate.comparison_id == source
    assert {text: picks for _, text, picks in candidate.samples} == {"a": 0, "b": 1, "c": 0, "d": 0}
    made = gold.author(session, run.id, source, samples["c"], " Clear. ", researcher.id)
    members = select(ComparisonSample.sample_id).where(ComparisonSample.comparison_id == made.id)
    assert set(session.scalars(members)) == set(samples.values())
    row = session.scalars(select(Gold)).one()
    assert (row.comparison_id, row.sample_id, row.explanation) == (made.id, samples["c"], "Clear.")
    assert gold.candidates(session, run.id) == []
    assert count_training(session, run.id) == 1
    with pytest.raises(ConflictError):
        gold.author(session, run.id, source, samples["c"], "Again.", researcher.id)


def test_agreement_counts_each_labelers_answers_to_it(
    session: Session, run: Run, ada: Account, researcher: Account
) -> None:
    for source, samples in [answered(session, run, ada) for _ in range(2)]:
        gold.author(session, run.id, source, samples["c"], "Clear.", researcher.id)
    bob = make_account(session, "Bob")
    for _ in range(2):
        make_comparison(session, run)  # gold takes the place of one from the queue
    answer(session, bob, run, "c")
    answer(session, bob, run, None)
    found = gold.agreement(session, bob.id, run.id)
    assert (found.right, found.n) == (1, 2)
    assert found.low < 0.5 < found.high
    assert gold.agreement(session, ada.id, run.id).n == 0
    assert sorted((one.answers, one.agreed, one.right) for one in gold.authored(session, run.id)) == [
        (1, 0, "c"),
        (1, 1, "c"),
    ]
    assert count_training(session, run.id) == 2


def test_a_retired_one_is_asked_no_more(session: Session, run: Run, ada: Account, researcher: Account) -> None:
    source, samples = answered(session, run, ada)
    made = gold.author(session, run.id, source, samples["c"], "Clear.", researcher.id)
    assert gold.retire(session, made.id, researcher.id) == run.id
    other = make_comparison(session, run)
    bob = make_account(session, "Bob")
    (got,) = labeling.lease(session, bob.id, run.id, count=1, lease_seconds=60)
    assert got.comparison_id == other.id
    assert [one.retired for one in gold.authored(session, run.id)] == [True]
    with pytest.raises(NotFoundError):
        gold.retire(session, source, researcher.id)


def test_refusals(session: Session, run: Run, ada: Account, researcher: Account) -> None:
    source, samples = answered(session, run, ada)
    with pytest.raises(InvalidError):
        gold.author(session, run.id, source, uuid4(), "Clear.", researcher.id)
    with pytest.raises(InvalidError):
        gold.author(session, run.id, source, samples["a"], " ", researcher.id)
    with pytest.raises(NotFoundError):
        gold.author(session, make_run(session).id, source, samples["a"], "Clear.", researcher.id)
    assert len(session.scalars(select(Comparison)).all()) == 1


def test_who_answered_the_first_never_gets_its_gold_copy(
    session: Session, run: Run, ada: Account, researcher: Account
) -> None:
    source, samples = answered(session, run, ada)
    made = gold.author(session, run.id, source, samples["c"], "Clear.", researcher.id)
    other = make_comparison(session, run)
    (got,) = labeling.lease(session, ada.id, run.id, count=1, lease_seconds=60)
    assert got.comparison_id == other.id
    labeling.record(session, ada.id, other.id, verdict=Verdict.TIE, choice=None, key="other")
    label = session.scalars(select(Label).where(Label.comparison_id == source)).one()
    labeling.undo(session, ada.id, label.id, lease_seconds=60)
    make_comparison(session, run)
    met = {one.comparison_id for one in labeling.lease(session, ada.id, run.id, count=8, lease_seconds=60)}
    assert made.id not in met, "not even while her answer is taken back"


@pytest.mark.parametrize("selection", ["age", "disagreement"])
def test_who_got_the_gold_copy_never_gets_the_first(
    session: Session, ada: Account, researcher: Account, selection: Literal["age", "disagreement"]
) -> None:
    collection = SMALL.collection.model_copy(update={"gold_share": 1.0, "selection": selection})
    run = make_run(session, hparams=SMALL.model_copy(update={"collection": collection}).model_dump(mode="json"))
    source, samples = answered(session, run, ada)
    made = gold.author(session, run.id, source, samples["c"], "Clear.", researcher.id)
    make_comparison(session, run)  # gold takes its place
    bob, eve = make_account(session, "Bob"), make_account(session, "Eve")
    assert answer(session, bob, run, "c").comparison_id == made.id
    session.get_one(
        Comparison, source
    ).state = ComparisonState.READY  # its answer was taken back, and its lease ran out
    session.get_one(Comparison, source).answers = 0
    session.flush()
    gold.retire(session, made.id, researcher.id)
    of_bob = {one.comparison_id for one in labeling.lease(session, bob.id, run.id, count=8, lease_seconds=60)}
    of_eve = {one.comparison_id for one in labeling.lease(session, eve.id, run.id, count=8, lease_seconds=60)}
    assert source not in of_bob
    assert source in of_eve
