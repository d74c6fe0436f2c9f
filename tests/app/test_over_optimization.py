"""The over-optimisation curve: which contests are on it, where, and which way round."""

from math import log

import pytest
from sqlalchemy.orm import Session

from app import contests, reports
from app.kinds import Split
from app.models import CheckpointKind, Run
from app.quality import Mean
from app.reports import ContestResult
from app.web import plots
from tests.factories import make_checkpoint, make_prompt, make_run

RATE = Mean(mean=0.7, low=0.6, high=0.8, n=50)
SCORES = Mean(mean=1.5, low=1.0, high=2.0, n=50), Mean(mean=0.0, low=-0.5, high=0.5, n=50)


@pytest.fixture
def run(session: Session) -> Run:
    made = make_run(session)
    made.reward_model_id = make_checkpoint(session, made, kind=CheckpointKind.REWARD_MODEL).id
    for number, kl in ((0, 2.0), (1, 8.0)):
        make_checkpoint(session, made, number=number, report={"kl": kl})
    for _ in range(4):
        make_prompt(session, split=Split.TEST)
    return made


def result(session: Session, run: Run, left: str, right: str) -> ContestResult:
    """Of a contest in which the left side wins 70 %."""
    made = contests.create(
        session, run.id, left=left, right=right, prompts=4, per_side=1, labelers=3, seed=0, actor_id=None
    )
    return ContestResult(
        id=made.id,
        run_id=run.id,
        left=made.left["name"],
        right=made.right["name"],
        per_side=1,
        labelers=3,
        comparisons=50,
        complete=50,
        wins=35,
        losses=15,
        ties=0,
        win_rate=RATE,
        at_equal_length=None,
        agreement={},
        score_left=SCORES[0],
        score_right=SCORES[1],
        examples=(),
    )


def test_policies_that_met_the_reference_stand_by_their_kl(session: Session, run: Run) -> None:
    found = reports.over_optimization(
        session,
        run.id,
        [
            result(session, run, "reference", "policy 1"),  # the reference wins 70 %
            result(session, run, "policy 0", "reference"),
            result(session, run, "reference best of 4", "reference"),
            result(session, run, "policy 0", "policy 1"),  # no reference in it
            result(session, run, "policy 0", "lead-3"),
        ],
    )
    assert [one.name for one in found] == ["reference, best of 4", "policy 0", "policy 1"]
    assert [one.kl for one in found] == pytest.approx([log(4) - 3 / 4, 2.0, 8.0])
    rates = [one.win_rate.mean for one in found if one.win_rate]
    assert rates == pytest.approx([0.7, 0.7, 0.3])
    assert found[2].win_rate is not None
    assert (found[2].win_rate.low, found[2].win_rate.high) == pytest.approx((0.2, 0.4))
    assert (found[2].score, found[1].score) == (SCORES[1], SCORES[0])


def test_the_plots_hold_every_point_within_their_frame(session: Session, run: Run) -> None:
    points = reports.over_optimization(
        session, run.id, [result(session, run, "policy 0", "reference"), result(session, run, "policy 1", "reference")]
    )
    made = plots.compared(points)
    assert made is not None
    rate, score = made.plots
    assert [dot.x < rate.width and 0 < dot.top < dot.y < dot.bottom < rate.height for dot in rate.dots] == [True, True]
    assert rate.dots[0].x < rate.dots[1].x
    assert rate.level is not None
    assert all(dot.y < rate.level for dot in rate.dots)  # 70 % lie above the line of equals
    assert score.dots[0].told == "policy 0: 1.50 at 2.0 nats"
    assert plots.compared([]) is None
