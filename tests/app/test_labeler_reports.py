"""How well people label, against answers made by hand."""

from uuid import uuid4

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app import labeling, reports
from app.errors import NotFoundError
from app.models import Account, Agreement, Comparison, ComparisonSample, Gold, Label, Purpose, Run, Sample, Verdict
from tests.app.test_labeling import lease
from tests.app.test_reports import fit_reward_model, give_label, give_scores
from tests.factories import make_account, make_checkpoint, make_comparison, make_run

TEXTS = (" a.", " bb.", " ccc.", " dddd.")


@pytest.fixture
def run(session: Session) -> Run:
    made = make_run(session)
    made.hparams = made.hparams | {"collection": {"gold_share": 0.0, "repeat_share": 0.0}}
    return made


@pytest.fixture
def ada(session: Session) -> Account:
    return make_account(session, "Ada")


def members(session: Session, comparison: Comparison) -> list[Sample]:
    query = select(Sample).join(ComparisonSample, ComparisonSample.sample_id == Sample.id)
    return list(
        session.scalars(query.where(ComparisonSample.comparison_id == comparison.id).order_by(ComparisonSample.slot))
    )


def answer(session: Session, who: Account, run: Run, text: str | None, *, milliseconds: int = 4000) -> Label:
    """The next comparison of the queue, answered with the sample of this text."""
    got = lease(session, who, run)[0]
    choice = None if text is None else next(id_ for id_, shown in got.samples if shown == text)
    verdict = Verdict.TIE if text is None else Verdict.BEST
    made = labeling.record(
        session,
        who.id,
        got.comparison_id,
        verdict=verdict,
        choice=choice,
        key=str(uuid4()),
        milliseconds=milliseconds,
    )
    return session.get_one(Label, made.label_id)


def test_gold_is_right_where_its_author_says_so(session: Session, run: Run, ada: Account) -> None:
    run.hparams = run.hparams | {"collection": {"gold_share": 1.0, "repeat_share": 0.0}}
    for _ in range(3):
        make_comparison(session, run)
        gold = make_comparison(session, run, purpose=Purpose.GOLD, texts=TEXTS)
        right = members(session, gold)[0]
        session.add(Gold(comparison_id=gold.id, sample_id=right.id, explanation="so", author_id=ada.id))
    for text in (" a.", " a.", " bb."):
        answer(session, ada, run, text)
    everybody, one = reports.labelers(session, run.id)
    assert (one.gold.hits, one.gold.n, one.answers) == (2, 3, 3)
    assert everybody.gold == one.gold
    assert one.gold.low < 2 / 3 < one.gold.high
    assert one.longest.n == 0  # gold tells of the labeler, not of lengths among models' samples


def test_repeats_are_held_against_the_first_answer(session: Session, run: Run, ada: Account) -> None:
    first = [make_comparison(session, run, texts=TEXTS) for _ in range(2)]
    answer(session, ada, run, " a.")
    answer(session, ada, run, " dddd.")
    for place, chosen in ((0, 0), (1, 2)):
        again = make_comparison(session, run, purpose=Purpose.TRAIN, texts=TEXTS)
        answer(session, ada, run, TEXTS[chosen])
        again.purpose, again.repeat_of_id = Purpose.REPEAT, first[place].id
        newest = select(Label).where(Label.comparison_id == again.id)
        same = members(session, first[place])[chosen].id  # a repeat shows the very samples
        session.execute(update(Label).where(Label.id == session.scalars(newest).one().id).values(chosen_sample_id=same))
    session.flush()
    one = reports.labeler(session, run.id, ada.id)
    assert (one.consistency.hits, one.consistency.n) == (1, 2)


def test_places_lengths_and_times(session: Session, run: Run, ada: Account) -> None:
    bob = make_account(session, "Bob")
    for _ in range(24):
        make_comparison(session, run, texts=TEXTS)
    for number in range(20):
        answer(session, bob, run, TEXTS[number % 4], milliseconds=4000 + 100 * (number % 5))
    for _ in range(4):
        got = lease(session, ada, run)[0]
        chosen, key = got.samples[0][0], str(uuid4())
        labeling.record(
            session, ada.id, got.comparison_id, verdict=Verdict.BEST, choice=chosen, key=key, milliseconds=50
        )
    everybody, first, second = reports.labelers(session, run.id)
    assert (first.name, second.name) == ("Bob", "Ada")
    assert [share.hits for share in second.places.chosen] == [4, 0, 0, 0]
    assert second.places.p == pytest.approx(0.0073832, rel=1e-3)  # chi-square 12 with 3 degrees of freedom
    assert (first.longest.hits, first.longest.n) == (5, 20)
    assert (second.fast, second.slow, second.timed, first.fast) == (4, 0, 4, 0)
    assert second.median_seconds == pytest.approx(0.05)
    assert (everybody.answers, everybody.fast, everybody.timed) == (24, 4, 24)
    assert sum(share.hits for share in everybody.places.chosen) == 24


def test_each_is_held_against_the_reward_model_by_their_own_labels(session: Session, run: Run, ada: Account) -> None:
    bob, model = make_account(session, "Bob"), fit_reward_model(session, run, [])
    for person, slot in ((ada, 1), (ada, 1), (ada, 0), (bob, 0)):
        comparison = make_comparison(session, run)
        give_scores(session, model, comparison, [0, 1, 0, 0])
        give_label(session, comparison, person, slot)
    everybody, first, second = (one.reward_model for one in reports.labelers(session, run.id))
    assert [(one.hits, one.n) for one in (everybody, first, second)] == [(2, 4), (2, 3), (0, 1)]


def test_the_policy_wins_where_its_sample_was_chosen(session: Session, run: Run, ada: Account) -> None:
    policy = make_checkpoint(session, run)
    for number in range(3):
        made = make_comparison(session, run, purpose=Purpose.VALIDATION, texts=TEXTS)
        for sample in members(session, made)[:2]:
            sample.policy_id = policy.id
        session.flush()
        answer(session, ada, run, TEXTS[number])
    found = reports.run_quality(session, run.id)
    assert (found.validation.hits, found.validation.n) == (2, 3)
    assert found.agreement is None


def test_the_newest_agreement_counts(session: Session, run: Run, ada: Account) -> None:
    bob = make_account(session, "Bob")
    for hits in (1, 3):
        pair = {"one": str(ada.id), "other": str(bob.id), "n": 4, "hits": hits}
        report = {"comparisons": 4, "labels": 8, "alpha": None, "percent": {"value": 0.5, "low": 0.1, "high": 0.9}}
        weights = {str(ada.id): 0.25}
        session.add(Agreement(run_id=run.id, labels=8, report=report | {"pairs": [pair], "weights": weights}))
        session.flush()
    found = reports.agreement(session, run.id)
    assert found is not None
    assert (found.alpha, found.percent and found.percent.value, found.weights) == (None, 0.5, {ada.id: 0.25})
    assert [(pair.one, pair.agreed.hits) for pair in found.pairs] == [(ada.id, 3)]


def test_nobody_and_nothing(session: Session, run: Run, ada: Account) -> None:
    (everybody,) = reports.labelers(session, run.id)
    assert (everybody.answers, everybody.gold.n, everybody.places.p, everybody.median_seconds) == (0, 0, None, None)
    with pytest.raises(NotFoundError):
        reports.labeler(session, run.id, ada.id)
    with pytest.raises(NotFoundError):
        reports.labelers(session, uuid4())
