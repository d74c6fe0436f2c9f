"""The supply of comparisons: what counts, how much is wanted, what is retired."""

import random
from collections import Counter
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app import comparisons, labeling, settling
from app.errors import InvalidError
from app.hparams import CollectionHParams
from app.models import Comparison, ComparisonSample, ComparisonState, Purpose, Run, Split, Verdict
from tests.factories import make_account, make_comparison, make_prompt, make_run, make_sample


@pytest.fixture
def run(session: Session) -> Run:
    return make_run(session)


def answer(session: Session, run: Run, verdict: Verdict, name: str = "Ada") -> None:
    labeler = make_account(session, name)
    got = labeling.lease(session, labeler.id, run.id, count=1, lease_seconds=60)[0]
    choice = got.samples[0][0] if verdict is Verdict.BEST else None
    labeling.record(session, labeler.id, got.comparison_id, verdict=verdict, choice=choice, key=name)


class TestCreate:
    def test_keeps_its_four_samples_and_its_age(self, session: Session, run: Run) -> None:
        run.promotions = 3
        prompt = make_prompt(session)
        samples = [make_sample(session, run, prompt).id for _ in range(4)]
        assert run.serving_id
        made = comparisons.create(
            session,
            run=run,
            prompt_id=prompt.id,
            sample_ids=samples,
            policy_id=run.serving_id,
            purpose=Purpose.TRAIN,
        )
        members = select(ComparisonSample.sample_id).where(ComparisonSample.comparison_id == made.id)
        assert list(session.scalars(members.order_by(ComparisonSample.slot))) == samples
        assert (made.promotion, made.state) == (3, ComparisonState.READY)

    @pytest.mark.parametrize("count", [3, 5])
    def test_takes_four(self, session: Session, run: Run, count: int) -> None:
        prompt = make_prompt(session)
        samples = [make_sample(session, run, prompt).id for _ in range(count)]
        assert run.serving_id
        with pytest.raises(InvalidError, match="takes 4 different"):
            comparisons.create(
                session,
                run=run,
                prompt_id=prompt.id,
                sample_ids=samples,
                policy_id=run.serving_id,
                purpose=Purpose.TRAIN,
            )

    def test_one_in_twenty_wants_five_people(self) -> None:
        """The default; of 4,000 the standard deviation is 14."""
        rng, collection = random.Random(0), CollectionHParams()
        wanted = Counter(comparisons.draw_wanted(collection, rng) for _ in range(4000))
        assert set(wanted) == {1, 5}
        assert abs(wanted[5] - 200) < 56

    def test_as_many_as_the_task_compares(self, session: Session) -> None:
        run = make_run(session, preset="sentiment-pairs-small")
        prompt, policy = make_prompt(session), run.serving_id
        assert policy

        def create(samples: list[UUID]) -> None:
            comparisons.create(
                session, run=run, prompt_id=prompt.id, sample_ids=samples, policy_id=policy, purpose=Purpose.TRAIN
            )

        three = [make_sample(session, run, prompt).id for _ in range(3)]
        create(three[:2])
        with pytest.raises(InvalidError, match="takes 2 different"):
            create(three)


class TestReadyCount:
    def test_falls_with_each_lease_and_rises_when_it_expires(self, session: Session, run: Run) -> None:
        for _ in range(3):
            make_comparison(session, run)
        assert comparisons.ready_count(session, run.id) == 3
        labeling.lease(session, make_account(session).id, run.id, count=2, lease_seconds=60)
        assert comparisons.ready_count(session, run.id) == 1
        session.execute(text("update assignment set expires_at = now() - interval '1 second'"))
        assert comparisons.ready_count(session, run.id) == 3

    def test_a_skipped_one_is_no_supply_or_a_lone_labeler_would_starve(self, session: Session, run: Run) -> None:
        make_comparison(session, run)
        answer(session, run, Verdict.SKIP)
        assert comparisons.ready_count(session, run.id) == 0
        assert comparisons.open_count(session, run.id, trainable=True) == 0

    def test_what_the_loop_has_looked_at_counts_alike(self, session: Session, run: Run) -> None:
        """Answered, skipped, answered once of two times, taken back, untouched: before a look and after looks."""
        for wanted in (1, 1, 2, 1, 1):
            make_comparison(session, run, wanted=wanted)
        answer(session, run, Verdict.BEST)
        eve = make_account(session, "Eve")
        skipped, half, got = labeling.lease(session, eve.id, run.id, count=3, lease_seconds=60)
        for one, verdict in ((skipped, Verdict.SKIP), (half, Verdict.TIE)):
            labeling.record(session, eve.id, one.comparison_id, verdict=verdict, choice=None, key=verdict)
        said = labeling.record(session, eve.id, got.comparison_id, verdict=Verdict.TIE, choice=None, key="Eve")
        labeling.undo(session, eve.id, said.label_id, lease_seconds=60)
        for _ in range(3):
            assert comparisons.open_count(session, run.id, trainable=True) == 2
            assert comparisons.ready_count(session, run.id) == 1
            settling.settle(session, run.id, (Verdict.BEST,))
        assert comparisons.open_count(session, run.id, trainable=True, most=1) == 1

    def test_stale_ones_are_no_supply_or_they_would_never_be_replaced(self, session: Session, run: Run) -> None:
        make_comparison(session, run, promotion=0)
        make_comparison(session, run, promotion=1)
        run.promotions = 2
        session.flush()
        assert comparisons.ready_count(session, run.id) == 1

    def test_other_runs_do_not_count(self, session: Session, run: Run) -> None:
        make_comparison(session, make_run(session))
        assert comparisons.ready_count(session, run.id) == 0


class TestOpenCount:
    def test_counts_what_is_out_by_whether_it_trains(self, session: Session, run: Run) -> None:
        valid = make_prompt(session, split=Split.VALID)
        make_comparison(session, run)
        make_comparison(session, run, purpose=Purpose.VALIDATION)
        make_comparison(session, run, purpose=Purpose.EVALUATION)
        make_comparison(session, run, prompt=valid)
        labeling.lease(session, make_account(session).id, run.id, count=1, lease_seconds=60)
        assert comparisons.open_count(session, run.id, trainable=True) == 2
        assert comparisons.open_count(session, run.id, trainable=False) == 2

    def test_an_answer_closes_one(self, session: Session, run: Run) -> None:
        make_comparison(session, run)
        make_comparison(session, run)
        answer(session, run, Verdict.BEST)
        assert comparisons.open_count(session, run.id, trainable=True) == 1


class TestSupplyTarget:
    def test_never_below_the_least(self, session: Session, run: Run) -> None:
        assert comparisons.supply_target(session, run.id) == 16

    def test_grows_with_active_labelers(self, session: Session, run: Run) -> None:
        for number in range(3):
            make_comparison(session, run)
            labeling.lease(session, make_account(session, f"L{number}").id, run.id, count=1, lease_seconds=60)
        assert comparisons.supply_target(session, run.id) == 2 * 3 * (3 + 1)
        assert comparisons.supply_target(session, run.id, prefetch=7) == 2 * 3 * (7 + 1)
        session.execute(text("update assignment set created_at = now() - interval '6 minutes'"))
        assert comparisons.supply_target(session, run.id) == 16


class TestRetireStale:
    def states(self, session: Session) -> list[tuple[int, str]]:
        rows = session.execute(select(Comparison.promotion, Comparison.state).order_by(Comparison.created_at))
        return [(promotion, state.value) for promotion, state in rows]

    def test_one_for_each_fresh_one_oldest_first(self, session: Session, run: Run) -> None:
        for promotion in (0, 1, 2, 2):
            make_comparison(session, run, promotion=promotion)
        run.promotions = 4
        make_comparison(session, run)
        assert comparisons.retire_stale(session, run) == 1
        assert self.states(session) == [(0, "retired"), (1, "ready"), (2, "ready"), (2, "ready"), (4, "ready")]

    def test_nothing_without_a_replacement(self, session: Session, run: Run) -> None:
        make_comparison(session, run)
        run.promotions = 2
        session.flush()
        assert comparisons.retire_stale(session, run) == 0

    def test_never_what_somebody_holds_or_answered(self, session: Session, run: Run) -> None:
        make_comparison(session, run)
        make_comparison(session, run)
        answer(session, run, Verdict.BEST)
        labeling.lease(session, make_account(session).id, run.id, count=1, lease_seconds=60)
        run.promotions = 2
        make_comparison(session, run)
        assert comparisons.retire_stale(session, run) == 0
        assert [state for _, state in self.states(session)] == ["labeled", "ready", "ready"]
