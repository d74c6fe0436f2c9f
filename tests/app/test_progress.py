"""Which run a labeler is sent to, and what they are told there."""

from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app import andon, labeling, progress
from app.errors import NotFoundError
from app.labeling import Lease, Recorded
from app.models import Account, Exclusion, Phase, Run, Verdict
from tests.factories import make_account, make_comparison, make_run


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
    return labeling.lease(session, labeler.id, run.id, count=count, lease_seconds=600)


def answer(session: Session, labeler: Account, got: Lease, verdict: Verdict) -> Recorded:
    choice = got.samples[0][0] if verdict is Verdict.BEST else None
    return labeling.record(session, labeler.id, got.comparison_id, verdict=verdict, choice=choice, key=str(uuid4()))


def undo(session: Session, labeler: Account, label: Recorded) -> Lease:
    return labeling.undo(session, labeler.id, label.label_id, lease_seconds=600)


class TestCounts:
    def test_counts_answers_not_skips_or_what_was_undone(
        self, session: Session, run: Run, ada: Account, bob: Account
    ) -> None:
        for _ in range(5):
            make_comparison(session, run)
        one, two, three, four, five = lease(session, ada, run, 5)
        answer(session, ada, two, Verdict.TIE)
        session.execute(text("update tally set day = day - 2"))
        answer(session, ada, one, Verdict.BEST)
        answer(session, ada, three, Verdict.NONE)
        answer(session, ada, four, Verdict.SKIP)
        undo(session, ada, answer(session, ada, five, Verdict.BEST))
        run.labels_usable = 7
        got = labeling.counts(session, ada.id, run.id)
        assert (got.mine, got.mine_today, got.team, got.goal) == (3, 2, 7, 600)
        assert labeling.counts(session, bob.id, run.id).mine == 0

    def test_says_why_there_is_nothing(self, session: Session, run: Run, ada: Account, bob: Account) -> None:
        def why(labeler: Account) -> str | None:
            return labeling.counts(session, labeler.id, run.id).waiting_for

        assert why(ada) == "New samples are being written."
        make_comparison(session, run)
        assert why(ada) is None
        lease(session, ada, run)
        assert why(ada) is None
        assert "Other labelers are looking at the last 1" in (why(bob) or "")
        run.phase, run.note = Phase.PAUSED, "lunch"
        assert "paused: lunch" in (why(bob) or "")
        run.phase, run.note = Phase.RUNNING, None
        run.labels_usable = 600
        assert "all 600 labels" in (why(bob) or "")
        run.phase = Phase.STOPPED
        assert "stopped" in (why(ada) or "")

    def test_a_quota_ends_the_work_of_one_person_and_an_exclusion_too(
        self, session: Session, run: Run, ada: Account, bob: Account
    ) -> None:
        run.hparams = run.hparams | {"collection": {"labels_per_day": 2, "labels_per_labeler": 3}}
        for _ in range(6):
            make_comparison(session, run)
        held = lease(session, ada, run, 8)
        assert len(held) == 2
        for one in held:
            answer(session, ada, one, Verdict.BEST)
        assert lease(session, ada, run, 8) == []
        assert "your 2 answers of today" in (labeling.counts(session, ada.id, run.id).waiting_for or "")
        session.execute(text("update tally set day = day - 1"))
        assert len(lease(session, ada, run, 8)) == 1
        assert len(lease(session, bob, run, 1)) == 1
        session.add(Exclusion(run_id=run.id, labeler_id=bob.id, reason="too fast"))
        answer(session, ada, lease(session, ada, run)[0], Verdict.TIE)
        assert "all 3 answers" in (labeling.counts(session, ada.id, run.id).waiting_for or "")
        assert len(lease(session, bob, run, 8)) == 1
        answer(session, bob, lease(session, bob, run)[0], Verdict.SKIP)
        assert lease(session, bob, run) == []
        assert "taken you out" in (labeling.counts(session, bob.id, run.id).waiting_for or "")

    def test_says_that_the_cord_is_pulled(self, session: Session, run: Run, ada: Account) -> None:
        assert labeling.counts(session, ada.id, run.id).cord is None
        andon.pull(session, run.id, ada.id, "gibberish")
        assert labeling.counts(session, ada.id, run.id).cord == "gibberish"

    def test_before_the_model_is_there(self, session: Session, run: Run, ada: Account) -> None:
        run.serving_id = None
        assert labeling.counts(session, ada.id, run.id).waiting_for == "The model is being prepared."

    def test_unknown_run(self, session: Session, ada: Account) -> None:
        with pytest.raises(NotFoundError):
            labeling.counts(session, ada.id, uuid4())


def test_the_newest_running_run_wants_labels(session: Session) -> None:
    assert progress.run_to_label(session) is None
    make_run(session, phase=Phase.STOPPED)
    assert progress.run_to_label(session) is None
    first, second = make_run(session), make_run(session)
    make_run(session, phase=Phase.FINISHED)
    assert progress.run_to_label(session) == second.id
    second.phase = Phase.PAUSED
    session.flush()
    assert progress.run_to_label(session) == first.id
