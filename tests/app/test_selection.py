"""Which comparisons a labeler gets: propensities by hand, gold and repeats in the place of others."""

import random
from collections import Counter
from uuid import uuid4

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from app import labeling
from app.labeling import Lease
from app.models import Account, Assignment, CheckpointKind, Comparison, ComparisonSample, Label, Purpose, Run, Verdict
from app.models import SampleScore as Score
from app.selection import AtHand, draw
from app.usable import count_training
from tests.app.test_labeling import best, lease
from tests.factories import make_account, make_checkpoint, make_comparison, make_run

SURE, UNSURE, UNKNOWN = (
    AtHand(uuid4(), Purpose.TRAIN, 0.1),
    AtHand(uuid4(), Purpose.TRAIN, 0.9),
    AtHand(uuid4(), Purpose.TRAIN, None),
)
MEASURING = AtHand(uuid4(), Purpose.EVALUATION, 5.0)


@pytest.fixture
def run(session: Session) -> Run:
    return make_run(session)


@pytest.fixture
def ada(session: Session) -> Account:
    return make_account(session, "Ada")


def collect(run: Run, **changes: object) -> None:
    """Set what the run's hyperparameters say of collection; nothing is mixed in where nothing is said of it."""
    run.hparams = run.hparams | {"collection": {"gold_share": 0.0, "repeat_share": 0.0} | changes}


def purposes(session: Session, leases: list[Lease]) -> list[Purpose]:
    return [session.get_one(Comparison, one.comparison_id).purpose for one in leases]


class TestDraw:
    def test_the_probability_is_that_of_the_hand(self) -> None:
        """Three at hand: the most disputed one with 3/4 + 1/4 * 1/3, each other one with 1/4 * 1/3."""
        expected = {SURE.comparison_id: 1 / 12, UNSURE.comparison_id: 10 / 12, UNKNOWN.comparison_id: 1 / 12}
        taken = Counter[object]()
        for seed in range(3000):
            (one,) = draw([SURE, UNSURE, UNKNOWN], 1, 0.25, random.Random(seed))
            assert one.propensity == pytest.approx(expected[one.comparison_id])
            taken[one.comparison_id] += 1
        for id_, probability in expected.items():  # four standard errors
            assert abs(taken[id_] / 3000 - probability) < 4 * (probability * (1 - probability) / 3000) ** 0.5

    def test_the_second_is_drawn_among_those_left(self) -> None:
        first, second, third = draw([SURE, UNSURE, UNKNOWN], 3, 0.0, random.Random(0))
        assert [one.comparison_id for one in (first, second, third)] == [
            UNSURE.comparison_id,
            SURE.comparison_id,
            UNKNOWN.comparison_id,
        ]
        assert [first.propensity, second.propensity, third.propensity] == [1.0, 1.0, 1.0]

    def test_what_measures_is_taken_by_age(self) -> None:
        first, second = draw([MEASURING, SURE, UNSURE], 2, 0.0, random.Random(0))
        assert (first.comparison_id, first.propensity) == (MEASURING.comparison_id, None)
        assert second.comparison_id == UNSURE.comparison_id
        assert [one.comparison_id for one in draw([SURE, MEASURING], 2, 0.0, random.Random(0))] == [
            SURE.comparison_id,
            MEASURING.comparison_id,
        ]


def test_by_disagreement_of_the_newest_reward_model(session: Session, run: Run, ada: Account) -> None:
    collect(run, selection="disagreement", random_share=0.2)
    old, new = (make_checkpoint(session, run, kind=CheckpointKind.REWARD_MODEL, number=n) for n in range(2))
    run.reward_model_id = new.id
    made = [make_comparison(session, run) for _ in range(3)]
    for model, spreads in ((old, (0.9, 0.1, 0.1)), (new, (0.1, 0.1, 0.9))):
        for comparison, spread in zip(made, spreads, strict=True):
            members = select(ComparisonSample.sample_id).where(ComparisonSample.comparison_id == comparison.id)
            for sample_id in session.scalars(members).all():
                session.add(Score(sample_id=sample_id, reward_model_id=model.id, score=0.0, disagreement=spread))
    session.flush()
    got = lease(session, ada, run)[0]
    lent = session.get_one(Assignment, got.assignment_id)
    assert lent.propensity == pytest.approx(0.2 / 3 + (0.8 if got.comparison_id == made[2].id else 0))
    assert len({one.comparison_id for one in lease(session, ada, run, 3)}) == 3


class TestGold:
    def test_in_the_place_of_others_each_once_to_each_person(self, session: Session, run: Run, ada: Account) -> None:
        collect(run, gold_share=1.0)
        gold = {make_comparison(session, run, purpose=Purpose.GOLD).id for _ in range(2)}
        assert lease(session, ada, run, 8) == []  # nothing else would have come
        for _ in range(8):
            make_comparison(session, run)
        bob = make_account(session, "Bob")
        for person in (ada, bob):
            got = lease(session, person, run, 3)
            assert [one.comparison_id in gold for one in got] == [True, True, False]
            for one in got:
                best(session, person, one)
            assert purposes(session, lease(session, person, run, 1)) == [Purpose.TRAIN]
        assert count_training(session, run.id) == 2

    def test_comes_at_the_share_asked_for(self, session: Session, run: Run, ada: Account) -> None:
        collect(run, gold_share=0.5)
        for number in range(64):
            make_comparison(session, run, purpose=Purpose.GOLD if number % 2 else Purpose.TRAIN)
        found = Counter[Purpose]()
        for _ in range(4):
            got = lease(session, ada, run, 8)
            found += Counter(purposes(session, got))
            for one in got:
                best(session, ada, one)
        # 32 draws at 1/2: outside of [4, 28] with probability 2e-5
        assert 4 <= found[Purpose.GOLD] <= 28

    def test_nothing_sent_tells_it_apart(self, session: Session, run: Run, ada: Account) -> None:
        collect(run, gold_share=1.0)
        make_comparison(session, run, purpose=Purpose.GOLD)
        for _ in range(2):
            make_comparison(session, run)
        got = lease(session, ada, run, 2)
        assert purposes(session, got) == [Purpose.GOLD, Purpose.TRAIN]
        for place, one in enumerate(got):
            assert len(one.samples) == 4
            made = best(session, ada, one)
            assert made.revision == 1
            assert labeling.counts(session, ada.id, run.id).mine == place + 1
            back = labeling.undo(session, ada.id, made.label_id, lease_seconds=60)
            assert (back.comparison_id, back.samples) == (one.comparison_id, one.samples)
            best(session, ada, back)


class TestRepeat:
    def test_the_same_samples_once_more_to_the_same_person(self, session: Session, run: Run, ada: Account) -> None:
        collect(run)
        made = make_comparison(session, run)
        first = lease(session, ada, run)[0]
        best(session, ada, first)
        for _ in range(4):
            make_comparison(session, run)
        collect(run, repeat_share=1.0)
        assert purposes(session, lease(session, ada, run)) == [Purpose.TRAIN]  # too soon
        session.execute(update(Label).values(created_at=text("now() - interval '11 minutes'")))
        again = lease(session, ada, run, 3)
        assert purposes(session, again) == [Purpose.TRAIN, Purpose.REPEAT, Purpose.TRAIN]
        repeated = session.get_one(Comparison, again[1].comparison_id)
        assert (repeated.repeat_of_id, dict(again[1].samples)) == (made.id, dict(first.samples))
        best(session, ada, again[1])
        assert count_training(session, run.id) == 1
        bob = make_account(session, "Bob")
        assert purposes(session, lease(session, bob, run, 8)) == [Purpose.TRAIN] * 2

    def test_a_skipped_one_is_not_shown_again(self, session: Session, run: Run, ada: Account) -> None:
        collect(run, repeat_share=1.0)
        make_comparison(session, run)
        got = lease(session, ada, run)[0]
        labeling.record(session, ada.id, got.comparison_id, verdict=Verdict.SKIP, choice=None, key="k")
        session.execute(update(Label).values(created_at=text("now() - interval '11 minutes'")))
        make_comparison(session, run)
        assert purposes(session, lease(session, ada, run)) == [Purpose.TRAIN]
