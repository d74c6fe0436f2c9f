"""What a model card tells: people's blind votes the right way round, how far labelers agreed, the newest summaries."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app import contest_sessions, contests, labeling
from app.kinds import Split, Verdict
from app.models import Agreement, Checkpoint, ComparisonSample, ContestItem, Evaluation, Purpose, Run, Sample
from app.reports.card import card
from tests.factories import make_account, make_checkpoint, make_comparison, make_prompt, make_run


@pytest.fixture
def run(session: Session) -> Run:
    made = make_run(session)
    for _ in range(4):
        make_prompt(session, split=Split.TEST)
    return made


@pytest.fixture
def policy(session: Session, run: Run) -> Checkpoint:
    return make_checkpoint(session, run, number=3)


def hold(session: Session, run: Run, left: str, right: str, wins: Sequence[str]) -> UUID:
    """A contest in which one person lets these sides win, comparison by comparison."""
    asked = {"left": left, "right": right, "prompts": 4, "per_side": 1, "labelers": 1, "seed": 0, "actor_id": None}
    contest = contests.create(session, run.id, **asked, own_session=True)  # type: ignore[arg-type]
    winner: dict[UUID, str] = {}
    for side in wins:
        one = make_comparison(session, run, texts=("left", "right"), purpose=Purpose.SESSION, wanted=1)
        winner[one.id] = side
    contest.written_at = session.scalar(select(func.clock_timestamp()))
    ada = make_account(session)
    for comparison_id in winner:
        left_sample = session.scalar(_sample(comparison_id, "left"))
        session.add(ContestItem(comparison_id=comparison_id, contest_id=contest.id, left_samples=[left_sample]))
    session.flush()
    for lent in contest_sessions.lease(session, ada.id, contest.id, count=len(wins), lease_seconds=60):
        choice = session.scalar(_sample(lent.comparison_id, winner[lent.comparison_id]))
        labeling.record(session, ada.id, lent.comparison_id, verdict=Verdict.BEST, choice=choice, key=str(uuid4()))
    return contest.id


def _sample(comparison_id: UUID, text: str) -> Select[UUID]:
    of_it = (ComparisonSample.comparison_id == comparison_id, Sample.text == text)
    return select(Sample.id).join(ComparisonSample, ComparisonSample.sample_id == Sample.id).where(*of_it)


def test_blind_votes_stand_the_right_way_round(session: Session, run: Run, policy: Checkpoint) -> None:
    hold(session, run, "policy 3", "reference", ("left", "left", "left", "right"))
    hold(session, run, "lead-3", "policy 3", ("left", "left", "left", "right"))
    contests.create(
        session, run.id, left="policy 3", right="reference", prompts=1, per_side=1, labelers=1, seed=0, actor_id=None
    )
    told = [(one.other, one.comparisons, one.win_rate.mean) for one in card(session, policy.id).met]
    assert told == [("reference", 4, 0.75), ("lead-3", 4, 0.25)], "and nothing of the one without a vote"
    (met,) = card(session, run.reference_id or policy.id).met
    assert (met.other, met.win_rate.mean) == ("policy 3", 0.25)
    assert met.win_rate.low < 0.25 < met.win_rate.high


def test_agreement_and_the_newest_table_of_summaries_are_told(session: Session, run: Run, policy: Checkpoint) -> None:
    percent = {"value": 0.7, "low": 0.6, "high": 0.8}
    report: dict[str, Any] = {
        "comparisons": 20,
        "labels": 40,
        "alpha": None,
        "percent": percent,
        "pairs": [],
        "weights": {},
    }
    session.add(Agreement(run_id=run.id, labels=40, report=report))
    for judge, result in (("vader", {"mean": 1.0}), ("summaries", {"rows": [{"writer": "lead-3", "rouge1": 40.0}]})):
        session.add(Evaluation(run_id=run.id, policy_id=policy.id, judge=judge, samples=9, result=result))
    session.flush()
    found = card(session, policy.id)
    assert found.agreement is not None
    assert found.agreement.percent is not None
    assert (found.agreement.comparisons, found.agreement.percent.value) == (20, 0.7)
    assert found.summaries == ({"writer": "lead-3", "rouge1": 40.0},)
    assert [one["judge"] for one in found.evaluations] == ["vader"]
