"""Many labelers at once against real PostgreSQL: nothing is handed out twice, no answer is lost or doubled."""

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import distinct_on

from app import comparisons, labeling
from app.db import SessionFactory, session_scope
from app.errors import ConflictError
from app.labeling import Lease, Recorded
from app.models import Assignment, AssignmentState, Comparison, ComparisonState, Label, Tally, Verdict
from app.usable import count_training, is_current
from tests.factories import make_account, make_comparison, make_run
from tests.processes import wait_until

LABELERS = 12
COMPARISONS = 90
CROWD = 64
CROWD_COMPARISONS = 100


class Plant:
    """A run with labelers; every call is one request, in a transaction of its own."""

    def __init__(self, factory: SessionFactory, comparisons: int, *, labelers: int = LABELERS, wanted: int = 1) -> None:
        self.factory = factory
        with session_scope(factory) as session:
            self.run = make_run(session)
            self.labelers = [make_account(session, f"L{number}").id for number in range(labelers)]
            self.comparisons = [make_comparison(session, self.run, wanted=wanted).id for _ in range(comparisons)]

    def lease(self, labeler: UUID, count: int) -> list[Lease]:
        with session_scope(self.factory) as session:
            return labeling.lease(session, labeler, self.run.id, count=count, lease_seconds=600)

    def record(self, labeler: UUID, got: Lease, verdict: Verdict = Verdict.BEST) -> Recorded:
        choice = got.samples[0][0] if verdict is Verdict.BEST else None
        with session_scope(self.factory) as session:
            key = f"{got.assignment_id}"
            return labeling.record(session, labeler, got.comparison_id, verdict=verdict, choice=choice, key=key)

    def undo(self, labeler: UUID, label: UUID) -> Lease:
        with session_scope(self.factory) as session:
            return labeling.undo(session, labeler, label, lease_seconds=600)

    def run_out(self, labeler: UUID) -> None:
        with session_scope(self.factory) as session:
            mine = update(Assignment).where(Assignment.labeler_id == labeler)
            session.execute(mine.values(expires_at=func.clock_timestamp() - timedelta(seconds=1)))

    def together(self, work: Callable[[UUID], object]) -> None:
        with ThreadPoolExecutor(len(self.labelers)) as threads:
            for done in [threads.submit(work, labeler) for labeler in self.labelers]:
                done.result()

    def require_counts(self) -> None:
        """What comparisons say of their leases and answers is what the other tables hold, and nobody counts twice."""
        with self.factory() as session:
            counted = select(Label.labeler_id, Label.comparison_id).where(
                Label.verdict.in_(comparisons.CLOSING), Label.surplus.is_(False), is_current()
            )
            lent = select(Assignment.comparison_id).where(Assignment.state == AssignmentState.LEASED)
            answered = [tuple(row) for row in session.execute(counted)]
            leases = Counter(session.scalars(lent))
            tallied = dict(
                session.execute(select(Tally.labeler_id, func.sum(Tally.answers)).group_by("labeler_id")).all()
            )
            assert len(set(answered)) == len(answered)
            answers = Counter(comparison for _, comparison in answered)
            for one in session.scalars(select(Comparison)):
                assert (one.answers, one.leased) == (answers[one.id], leases[one.id])
                assert (one.state == ComparisonState.LABELED) == (one.answers == one.wanted)
            done = Counter(session.scalars(counted.with_only_columns(Label.labeler_id)))
            surplus = select(Label.labeler_id).where(
                Label.surplus, Label.verdict.in_(comparisons.CLOSING), is_current()
            )
            done += Counter(session.scalars(surplus))
            assert {who: count for who, count in tallied.items() if count} == done


@pytest.mark.parametrize("wanted", [1, 5])
def test_a_crowd_gives_exactly_the_wanted_answers(session_factory: SessionFactory, wanted: int) -> None:
    """64 people, 100 comparisons; one in ten leases runs out and is answered late. Each person comes until they get
    nothing any more, so nobody is waited for."""
    plant = Plant(session_factory, CROWD_COMPARISONS, labelers=CROWD, wanted=wanted)

    def work(labeler: UUID) -> None:
        chance = random.Random(str(labeler))
        while got := plant.lease(labeler, chance.randint(1, 4)):
            if chance.random() < 0.1:
                plant.run_out(labeler)
            for one in got:
                plant.record(labeler, one)

    plant.together(work)
    plant.together(work)  # for what ran out in the hands of the last
    plant.require_counts()
    with plant.factory() as session:
        assert session.scalars(select(Comparison.answers)).all() == [wanted] * CROWD_COMPARISONS
        asked = session.execute(select(Label.labeler_id, Label.comparison_id)).all()
        assert len(set(asked)) == len(asked)
        assert count_training(session, plant.run.id) == CROWD_COMPARISONS


@pytest.fixture
def plant(session_factory: SessionFactory) -> Plant:
    return Plant(session_factory, COMPARISONS)


def test_every_comparison_is_answered_once(plant: Plant) -> None:
    answers: Counter[UUID] = Counter()

    def work(labeler: UUID) -> None:
        idle = 0
        while idle < 3:
            got = plant.lease(labeler, random.randint(1, 4))
            idle = 0 if got else idle + 1
            for one in got:
                plant.record(labeler, one)
                answers[one.comparison_id] += 1

    plant.together(work)
    plant.require_counts()
    assert answers == Counter(plant.comparisons)
    with plant.factory() as session:
        assert session.scalar(select(func.count()).select_from(Label)) == COMPARISONS
        assert session.scalar(select(func.count()).select_from(Assignment)) == COMPARISONS
        assert count_training(session, plant.run.id) == COMPARISONS


def test_skips_undos_retries_and_expiry_lose_nothing(plant: Plant) -> None:
    """Each labeler works as people do on a bad network; the rows must agree with what each was told."""
    told: dict[tuple[UUID, UUID], Recorded] = {}

    def work(labeler: UUID) -> None:
        chance = random.Random(str(labeler))
        for _ in range(25):
            leases = plant.lease(labeler, chance.randint(1, 3))
            if chance.random() < 0.2:
                plant.run_out(labeler)
            for one in leases:
                verdict = chance.choice([Verdict.BEST, Verdict.BEST, Verdict.TIE, Verdict.SKIP])
                made = plant.record(labeler, one, verdict)
                assert plant.record(labeler, one, verdict) == made
                told[labeler, one.comparison_id] = made
                if chance.random() < 0.2:
                    with suppress(ConflictError):  # somebody else holds it by now: the answer stays
                        back = plant.undo(labeler, made.label_id)
                        assert back.samples == one.samples
                        told[labeler, one.comparison_id] = plant.record(labeler, back)

    plant.together(work)
    plant.require_counts()
    with plant.factory() as session:
        current = select(Label.labeler_id, Label.comparison_id, Label.id, Label.revision)
        newest = current.ext(distinct_on(Label.labeler_id, Label.comparison_id)).order_by(
            Label.labeler_id, Label.comparison_id, Label.revision.desc()
        )
        stored = {(who, what): Recorded(label_id=label, revision=n) for who, what, label, n in session.execute(newest)}
        assert stored == told
        closing = Label.verdict.in_(comparisons.CLOSING)
        current_ids = [made.label_id for made in told.values()]
        answered = select(Label.comparison_id).where(closing, Label.surplus.is_(False), Label.id.in_(current_ids))
        labeled = select(Comparison.id).where(Comparison.state == ComparisonState.LABELED)
        assert set(session.scalars(answered)) == set(session.scalars(labeled))


def test_one_answer_sent_many_times_at_once_is_one_label(plant: Plant) -> None:
    labeler = plant.labelers[0]
    got = plant.lease(labeler, 1)[0]
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: plant.record(labeler, got), range(8)))
    assert len(set(made)) == 1
    with plant.factory() as session:
        assert session.scalar(select(func.count()).select_from(Label)) == 1


def test_one_undo_sent_many_times_at_once_is_one_revision(plant: Plant) -> None:
    labeler = plant.labelers[0]
    made = plant.record(labeler, plant.lease(labeler, 1)[0])
    with ThreadPoolExecutor(8) as threads:
        backs = list(threads.map(lambda _: plant.undo(labeler, made.label_id), range(8)))
    assert len({back.assignment_id for back in backs}) == 1


def test_two_tabs_of_one_labeler_hold_the_same(plant: Plant) -> None:
    labeler = plant.labelers[0]
    with ThreadPoolExecutor(8) as threads:
        tabs = list(threads.map(lambda _: plant.lease(labeler, 3), range(8)))
    assert len({one.assignment_id for got in tabs for one in got}) == 3


def test_retiring_never_takes_what_somebody_holds(plant: Plant) -> None:
    with session_scope(plant.factory) as session:
        session.merge(plant.run).promotions = 2
        for _ in range(COMPARISONS):
            make_comparison(session, plant.run, promotion=2)

    def work(labeler: UUID) -> None:
        for _ in range(6):
            for one in plant.lease(labeler, 8):
                plant.record(labeler, one)
            with session_scope(plant.factory) as session:
                comparisons.retire_stale(session, session.merge(plant.run, load=False))

    plant.together(work)
    with plant.factory() as session:
        lost = (
            select(func.count())
            .select_from(Comparison)
            .join(Label, Label.comparison_id == Comparison.id)
            .where(Comparison.state != ComparisonState.LABELED)
        )
        assert session.scalar(lost) == 0


def test_a_late_answer_beside_the_next_labelers_is_kept(plant: Plant) -> None:
    late = {labeler: plant.lease(labeler, 1)[0] for labeler in plant.labelers}
    with session_scope(plant.factory) as session:
        session.execute(text("update assignment set expires_at = now() - interval '1 second'"))

    def work(labeler: UUID) -> None:
        for one in plant.lease(labeler, 8):
            plant.record(labeler, one)
        try:
            plant.record(labeler, late[labeler])
        except ConflictError:  # it came back to this labeler, who has just answered it
            return

    plant.together(work)
    plant.require_counts()
    with plant.factory() as session:
        answered = session.execute(select(Label.labeler_id, Label.comparison_id)).all()
        assert len(set(answered)) == len(answered)
        assert {(labeler, one.comparison_id) for labeler, one in late.items()} <= {(a, b) for a, b in answered}


def test_a_lease_that_another_request_is_just_ending_does_not_come_twice(plant: Plant) -> None:
    """The other request holds the row; this one sees it as lent, waits for it, and finds it ended."""
    labeler = plant.labelers[0]
    lent = plant.lease(labeler, 1)[0]
    plant.run_out(labeler)
    with ThreadPoolExecutor(1) as threads:
        with session_scope(plant.factory) as ending:
            ending.execute(update(Assignment).where(Assignment.id == lent.assignment_id).values(state="expired"))
            asked = threads.submit(plant.lease, labeler, 8)
            wait_until("the request to wait for the row", lambda: _waits_for_a_lock(plant.factory))
        got = [one.comparison_id for one in asked.result(10)]
    assert len(set(got)) == len(got) == 8


def _waits_for_a_lock(factory: SessionFactory) -> bool:
    waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    with factory() as session:
        return bool(session.scalar(text(waiting)))
