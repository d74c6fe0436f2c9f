"""Lease, answer, skip, flag, undo: what a labeler can count on."""

from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app import jobs, labeling
from app.errors import ConflictError, InvalidError, NotFoundError
from app.labeling import Lease, Recorded, Said
from app.models import (
    Account,
    Assignment,
    Comparison,
    ComparisonState,
    Guideline,
    Label,
    Phase,
    Run,
    Verdict,
)
from app.usable import count_training
from tests.factories import make_account, make_comparison, make_run

LEASE_SECONDS = 600


@pytest.fixture
def run(session: Session) -> Run:
    return make_run(session)


@pytest.fixture
def ada(session: Session) -> Account:
    return make_account(session, "Ada")


@pytest.fixture
def bob(session: Session) -> Account:
    return make_account(session, "Bob")


def lease(session: Session, labeler: Account, run: Run, count: int = 1) -> list[Lease]:
    return labeling.lease(session, labeler.id, run.id, count=count, lease_seconds=LEASE_SECONDS)


def best(session: Session, labeler: Account, got: Lease, *, place: int = 0, key: str | None = None) -> Recorded:
    choice = got.samples[place][0]
    return labeling.record(
        session, labeler.id, got.comparison_id, verdict=Verdict.BEST, choice=choice, key=key or str(uuid4())
    )


def answer(session: Session, labeler: Account, got: Lease, verdict: Verdict) -> Recorded:
    return labeling.record(session, labeler.id, got.comparison_id, verdict=verdict, choice=None, key=str(uuid4()))


def undo(session: Session, labeler: Account, label: Recorded) -> Lease:
    return labeling.undo(session, labeler.id, label.label_id, lease_seconds=LEASE_SECONDS)


def run_out(session: Session) -> None:
    session.execute(text("update assignment set expires_at = now() - interval '1 second' where state = 'leased'"))


def state(session: Session, comparison_id: UUID) -> ComparisonState:
    return session.get_one(Comparison, comparison_id, populate_existing=True).state


def revisions(session: Session, comparison_id: UUID) -> list[tuple[int, str]]:
    rows = session.execute(select(Label.revision, Label.verdict).where(Label.comparison_id == comparison_id))
    return sorted((revision, verdict.value) for revision, verdict in rows)


class TestLease:
    def test_shows_prompt_and_four_samples(self, session: Session, run: Run, ada: Account) -> None:
        made = make_comparison(session, run, texts=("a", "b", "c", "d"))
        got = lease(session, ada, run)[0]
        assert got.comparison_id == made.id
        assert got.prompt
        assert sorted(text for _, text in got.samples) == ["a", "b", "c", "d"]
        assert got.expires_at > session.scalars(select(func.now())).one()

    def test_one_labeler_at_a_time(self, session: Session, run: Run, ada: Account, bob: Account) -> None:
        for _ in range(3):
            make_comparison(session, run)
        first, second = lease(session, ada, run, 2), lease(session, bob, run, 8)
        assert len(first) == 2
        assert len(second) == 1
        assert {got.comparison_id for got in first}.isdisjoint(got.comparison_id for got in second)

    def test_own_leases_come_first_in_the_order_once_drawn(self, session: Session, run: Run, ada: Account) -> None:
        for _ in range(3):
            make_comparison(session, run)
        held = lease(session, ada, run, 2)
        again = lease(session, ada, run, 3)
        assert [(got.assignment_id, got.samples) for got in again[:2]] == [
            (got.assignment_id, got.samples) for got in held
        ]
        assert len(again) == 3
        assert session.scalar(select(func.count()).select_from(Assignment)) == 3

    def test_asking_again_renews(self, session: Session, run: Run, ada: Account) -> None:
        make_comparison(session, run)
        held = lease(session, ada, run)[0]
        assert lease(session, ada, run)[0].expires_at == held.expires_at, "nearly all of its time is left"
        session.execute(text("update assignment set expires_at = now() + interval '1 second'"))
        again = lease(session, ada, run)[0]
        assert (again.assignment_id, again.samples) == (held.assignment_id, held.samples)
        assert again.expires_at >= held.expires_at

    def test_newest_policy_first_then_oldest_comparison(self, session: Session, run: Run, ada: Account) -> None:
        old = make_comparison(session, run, promotion=0)
        new = [make_comparison(session, run, promotion=1) for _ in range(2)]
        expected = [new[0].id, new[1].id, old.id]
        assert [lease_.comparison_id for lease_ in lease(session, ada, run, 3)] == expected

    def test_the_order_shown_is_drawn_evenly(self, session: Session, run: Run, ada: Account) -> None:
        # 80 draws: the chance that one of the four never stands first is below 4 * (3/4)**80 < 1e-9.
        first = set()
        for _ in range(80):
            make_comparison(session, run, texts=("a", "b", "c", "d"))
            got = lease(session, ada, run)[0]
            first.add(got.samples[0][1])
            best(session, ada, got)
        assert first == {"a", "b", "c", "d"}

    def test_an_expired_lease_goes_to_others(self, session: Session, run: Run, ada: Account, bob: Account) -> None:
        make_comparison(session, run)
        first = lease(session, ada, run)[0]
        assert lease(session, bob, run) == []
        run_out(session)
        assert lease(session, bob, run)[0].comparison_id == first.comparison_id
        assert lease(session, ada, run) == []

    @pytest.mark.parametrize("verdict", [Verdict.TIE, Verdict.NONE, Verdict.SKIP])
    def test_never_again_what_was_answered(self, session: Session, run: Run, ada: Account, verdict: Verdict) -> None:
        make_comparison(session, run)
        answer(session, ada, lease(session, ada, run)[0], verdict)
        assert lease(session, ada, run) == []

    def test_a_stopped_run_hands_out_nothing_new(self, session: Session, run: Run, ada: Account) -> None:
        make_comparison(session, run)
        run.phase = Phase.STOPPED
        assert lease(session, ada, run) == []

    @pytest.mark.parametrize("count", [0, 9])
    def test_count_has_bounds(self, session: Session, run: Run, ada: Account, count: int) -> None:
        with pytest.raises(InvalidError):
            lease(session, ada, run, count)

    def test_unknown_run_or_labeler(self, session: Session, run: Run, ada: Account) -> None:
        with pytest.raises(NotFoundError):
            labeling.lease(session, ada.id, uuid4(), count=1, lease_seconds=60)
        with pytest.raises(NotFoundError):
            labeling.lease(session, uuid4(), run.id, count=1, lease_seconds=60)


class TestRecord:
    def test_stores_the_sample_not_its_place(self, session: Session, run: Run, ada: Account) -> None:
        make_comparison(session, run)
        guideline = Guideline(run_id=run.id, version=1, text="Pick the happiest.")
        session.add(guideline)
        got = lease(session, ada, run)[0]
        made = labeling.record(
            session,
            ada.id,
            got.comparison_id,
            verdict=Verdict.BEST,
            choice=got.samples[2][0],
            key="k",
            milliseconds=1234,
            reason="warm",
            strength=2,
        )
        label = session.get_one(Label, made.label_id)
        assert label.chosen_sample_id == got.samples[2][0]
        assert (label.revision, label.milliseconds, label.reason, label.strength) == (1, 1234, "warm", 2)
        assert (label.assignment_id, label.guideline_id) == (got.assignment_id, guideline.id)
        assert state(session, got.comparison_id) == ComparisonState.LABELED
        assert count_training(session, run.id) == 1
        assert [name for name, _, _ in jobs.take_messages(session)] == [jobs.ADVANCE_RUN]

    def test_the_same_key_is_the_same_answer(self, session: Session, run: Run, ada: Account) -> None:
        make_comparison(session, run)
        got = lease(session, ada, run)[0]
        first = best(session, ada, got, place=0, key="k")
        assert best(session, ada, got, place=3, key="k") == first
        assert session.scalar(select(func.count()).select_from(Label)) == 1

    def test_a_key_belongs_to_one_comparison(self, session: Session, run: Run, ada: Account) -> None:
        make_comparison(session, run)
        make_comparison(session, run)
        first, second = lease(session, ada, run, 2)
        best(session, ada, first, key="k")
        with pytest.raises(ConflictError, match="idempotency key"):
            best(session, ada, second, key="k")

    def test_a_second_answer_needs_an_undo(self, session: Session, run: Run, ada: Account) -> None:
        make_comparison(session, run)
        got = lease(session, ada, run)[0]
        best(session, ada, got)
        with pytest.raises(ConflictError, match="undo"):
            best(session, ada, got, place=1)

    @pytest.mark.parametrize("verdict", [Verdict.TIE, Verdict.NONE])
    def test_tie_and_none_close_it(self, session: Session, run: Run, ada: Account, verdict: Verdict) -> None:
        make_comparison(session, run)
        got = lease(session, ada, run)[0]
        answer(session, ada, got, verdict)
        assert state(session, got.comparison_id) == ComparisonState.LABELED
        assert count_training(session, run.id) == 0

    def test_a_skip_gives_it_to_others(self, session: Session, run: Run, ada: Account, bob: Account) -> None:
        make_comparison(session, run)
        got = lease(session, ada, run)[0]
        answer(session, ada, got, Verdict.SKIP)
        assert state(session, got.comparison_id) == ComparisonState.READY
        assert lease(session, bob, run)[0].comparison_id == got.comparison_id

    def test_a_late_answer_is_kept(self, session: Session, run: Run, ada: Account) -> None:
        make_comparison(session, run)
        got = lease(session, ada, run)[0]
        run_out(session)
        best(session, ada, got)
        assert count_training(session, run.id) == 1

    def test_of_a_late_and_a_timely_answer_one_counts(
        self, session: Session, run: Run, ada: Account, bob: Account
    ) -> None:
        make_comparison(session, run)
        late = lease(session, ada, run)[0]
        run_out(session)
        timely = lease(session, bob, run)[0]
        first, second = best(session, ada, late), best(session, bob, timely)
        assert [session.get_one(Label, one.label_id).surplus for one in (first, second)] == [False, True]
        assert count_training(session, run.id) == 1
        undo(session, ada, first)
        assert count_training(session, run.id) == 0
        assert count_training(session, run.id, surplus=True) == 1

    def test_only_those_who_were_asked_may_answer(self, session: Session, run: Run, ada: Account, bob: Account) -> None:
        make_comparison(session, run)
        got = lease(session, ada, run)[0]
        with pytest.raises(ConflictError, match="somebody else"):
            best(session, bob, got)
        unasked = make_comparison(session, run)
        with pytest.raises(NotFoundError, match="never given"):
            labeling.record(session, bob.id, unasked.id, verdict=Verdict.SKIP, choice=None, key="k")

    def test_answers_that_make_no_sense(self, session: Session, run: Run, ada: Account) -> None:
        make_comparison(session, run)
        got = lease(session, ada, run)[0]
        shown = got.samples[0][0]
        for verdict, choice in (
            (Verdict.BEST, None),
            (Verdict.TIE, shown),
            (Verdict.BEST, uuid4()),
            (Verdict.UNDONE, None),
        ):
            with pytest.raises(InvalidError):
                labeling.record(session, ada.id, got.comparison_id, verdict=verdict, choice=choice, key=str(uuid4()))
        assert session.scalar(select(func.count()).select_from(Label)) == 0

    def test_unknown_comparison(self, session: Session, ada: Account) -> None:
        with pytest.raises(NotFoundError):
            labeling.record(session, ada.id, uuid4(), verdict=Verdict.TIE, choice=None, key="k")


class TestUndo:
    def test_returns_the_same_question_in_the_same_order(
        self, session: Session, run: Run, ada: Account, bob: Account
    ) -> None:
        make_comparison(session, run)
        got = lease(session, ada, run)[0]
        label = best(session, ada, got)
        back = undo(session, ada, label)
        assert (back.comparison_id, back.samples) == (got.comparison_id, got.samples)
        assert state(session, got.comparison_id) == ComparisonState.READY
        assert count_training(session, run.id) == 0
        assert lease(session, bob, run) == []
        assert lease(session, ada, run) == [back] or lease(session, ada, run)[0].assignment_id == back.assignment_id

    def test_nothing_is_erased(self, session: Session, run: Run, ada: Account) -> None:
        make_comparison(session, run)
        got = lease(session, ada, run)[0]
        back = undo(session, ada, best(session, ada, got))
        again = best(session, ada, back, place=1)
        assert again.revision == 3
        assert revisions(session, got.comparison_id) == [(1, "best"), (2, "undone"), (3, "best")]
        assert count_training(session, run.id) == 1

    def test_repeated_it_changes_nothing(self, session: Session, run: Run, ada: Account) -> None:
        make_comparison(session, run)
        label = best(session, ada, lease(session, ada, run)[0])
        first, second = undo(session, ada, label), undo(session, ada, label)
        assert second == first
        assert [revision for revision, _ in revisions(session, first.comparison_id)] == [1, 2]

    def test_an_old_undo_does_not_touch_a_newer_answer(self, session: Session, run: Run, ada: Account) -> None:
        make_comparison(session, run)
        label = best(session, ada, lease(session, ada, run)[0])
        best(session, ada, undo(session, ada, label))
        with pytest.raises(ConflictError, match="undone already"):
            undo(session, ada, label)
        assert count_training(session, run.id) == 1

    def test_a_skip_can_be_undone_until_somebody_else_has_it(
        self, session: Session, run: Run, ada: Account, bob: Account
    ) -> None:
        make_comparison(session, run)
        got = lease(session, ada, run)[0]
        back = undo(session, ada, answer(session, ada, got, Verdict.SKIP))
        skipped = answer(session, ada, back, Verdict.SKIP)
        lease(session, bob, run)
        with pytest.raises(ConflictError, match="Somebody else"):
            undo(session, ada, skipped)

    def test_somebody_elses_answer_keeps_it_closed(
        self, session: Session, run: Run, ada: Account, bob: Account
    ) -> None:
        make_comparison(session, run)
        late = lease(session, ada, run)[0]
        run_out(session)
        best(session, bob, lease(session, bob, run)[0])
        undo(session, ada, best(session, ada, late))
        assert state(session, late.comparison_id) == ComparisonState.LABELED
        assert count_training(session, run.id) == 1

    def test_only_ones_own(self, session: Session, run: Run, ada: Account, bob: Account) -> None:
        make_comparison(session, run)
        label = best(session, ada, lease(session, ada, run)[0])
        with pytest.raises(NotFoundError):
            undo(session, bob, label)


class TestRevise:
    def test_writes_a_further_revision_and_keeps_the_first(self, session: Session, run: Run, ada: Account) -> None:
        make_comparison(session, run)
        got = lease(session, ada, run)[0]
        first = best(session, ada, got)
        other = Said(verdict=Verdict.BEST, choice=got.samples[3][0])
        changed = labeling.revise(session, ada.id, first.label_id, other, key="change")
        assert labeling.revise(session, ada.id, first.label_id, other, key="change") == changed
        assert revisions(session, got.comparison_id) == [(1, "best"), (2, "best")]
        assert session.get_one(Label, changed.label_id).chosen_sample_id == got.samples[3][0]
        assert count_training(session, run.id) == 1
        assert lease(session, ada, run) == []

    def test_a_skip_reopens_what_was_answered_and_an_answer_closes_it_again(
        self, session: Session, run: Run, ada: Account
    ) -> None:
        make_comparison(session, run)
        got = lease(session, ada, run)[0]
        skip = labeling.revise(
            session, ada.id, best(session, ada, got).label_id, Said(verdict=Verdict.SKIP, choice=None), key="skip"
        )
        assert state(session, got.comparison_id) == ComparisonState.READY
        labeling.revise(session, ada.id, skip.label_id, Said(verdict=Verdict.TIE, choice=None), key="tie")
        assert state(session, got.comparison_id) == ComparisonState.LABELED

    def test_only_ones_own_newest_answer(self, session: Session, run: Run, ada: Account, bob: Account) -> None:
        make_comparison(session, run)
        label = best(session, ada, lease(session, ada, run)[0])
        tie = Said(verdict=Verdict.TIE, choice=None)
        with pytest.raises(NotFoundError):
            labeling.revise(session, bob.id, label.label_id, tie, key="k")
        labeling.revise(session, ada.id, label.label_id, tie, key="k")
        with pytest.raises(ConflictError, match="changed or taken back"):
            labeling.revise(session, ada.id, label.label_id, tie, key="k2")
        with pytest.raises(ConflictError):
            labeling.revise(session, ada.id, label.label_id, Said(verdict=Verdict.BEST, choice=uuid4()), key="k3")
