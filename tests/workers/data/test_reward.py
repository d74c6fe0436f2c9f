"""Rows of labels to the plan of a reward model."""

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import labeling
from app.hparams import PRESETS, RunHParams
from app.kinds import JobKind, Verdict
from app.models import Account, Agreement, Assignment, Comparison, ComparisonSample, Label, Metric, Run
from tests.factories import make_account, make_comparison, make_prompt, make_run
from workers import fencing, plan
from workers.data.reward import record_reward_model, reward_plan
from workers.plans import RewardPlan

SMALL = PRESETS["sentiment-small"]


def small_with(**reward: str) -> RunHParams:
    """The small preset with other uses of ties and none."""
    return SMALL.model_copy(update={"reward": SMALL.reward.model_copy(update=reward)})


def answer(
    session: Session, comparison: Comparison, verdict: Verdict, slot: int | None = None, strength: int | None = None
) -> None:
    """A new person's label."""
    person: Account = make_account(session)
    of_it = select(ComparisonSample.sample_id).where(ComparisonSample.comparison_id == comparison.id)
    samples = list(session.scalars(of_it.order_by(ComparisonSample.slot)))
    lent = Assignment(
        comparison_id=comparison.id,
        labeler_id=person.id,
        shown=list(reversed(samples)),  # people see another order than the one that is trained on
        expires_at=func.clock_timestamp(),
    )
    session.add(lent)
    comparison.leased += 1
    session.flush()
    choice = None if slot is None else samples[slot]
    labeling.record(session, person.id, comparison.id, verdict=verdict, choice=choice, key="k", strength=strength)


def planned(session: Session, run: Run) -> RewardPlan:
    job = plan.start_job(session, run.id, JobKind.TRAIN_REWARD, {})
    claim = fencing.claim(session, job.id, worker="test", stale_seconds=30)
    assert claim is not None
    return reward_plan(session, claim)


@pytest.mark.parametrize(
    ("uses", "targets"),
    [
        ({}, {"picked": (0.0, 0.0, 1.0, 0.0)}),
        ({"tie_labels": "even"}, {"picked": (0.0, 0.0, 1.0, 0.0), "tie": (0.25,) * 4}),
        ({"none_labels": "even"}, {"picked": (0.0, 0.0, 1.0, 0.0), "none": (0.25,) * 4}),
    ],
)
def test_the_plan_holds_what_the_run_uses(
    session: Session, uses: dict[str, str], targets: dict[str, tuple[float, ...]]
) -> None:
    run = make_run(session, hparams=small_with(**uses).model_dump(mode="json"))
    for text, verdict, slot in (("picked", Verdict.BEST, 2), ("tie", Verdict.TIE, None), ("none", Verdict.NONE, None)):
        answer(session, make_comparison(session, run, prompt=make_prompt(session, text=text)), verdict, slot)
    made = planned(session, run)
    assert {one.prompt: one.target for one in made.train} == targets
    assert plan.read_state(session, run).training_labels == len(targets)


@pytest.mark.parametrize(
    ("strength", "target"), [(1, (0.375, 0.625)), (2, (0.25, 0.75)), (4, (0.0, 1.0)), (None, (0.0, 1.0))]
)
def test_the_strength_of_a_pair_makes_its_target_soft(
    session: Session, strength: int | None, target: tuple[float, ...]
) -> None:
    run = make_run(session, preset="sentiment-pairs-small")
    answer(session, make_comparison(session, run, texts=("a", "b")), Verdict.BEST, 1, strength)
    answer(session, make_comparison(session, run, texts=("a", "b")), Verdict.TIE)
    assert sorted(one.target for one in planned(session, run).train) == sorted([target, (0.5, 0.5)])


def test_a_strength_that_nobody_asked_for_changes_nothing(session: Session) -> None:
    run = make_run(session)
    answer(session, make_comparison(session, run), Verdict.BEST, 1, strength=1)
    assert planned(session, run).train[0].target == (0.0, 1.0, 0.0, 0.0)


@pytest.mark.parametrize(("asked", "weights"), [("equal", [1.0, 1.0, 1.0]), ("reliability", [1.5, 0.5, 1.0])])
def test_labels_weigh_as_much_as_their_labelers_know_where_the_run_asks(
    session: Session, asked: str, weights: list[float]
) -> None:
    """0.9 and 0.3, and 0.6 of somebody unknown, which is the mean of those known; brought to a mean of 1."""
    run = make_run(session, hparams=small_with(label_weights=asked).model_dump(mode="json"))
    for slot in range(3):
        answer(session, make_comparison(session, run), Verdict.BEST, slot)
    careful, hasty, _ = session.scalars(select(Label.labeler_id).order_by(Label.created_at))
    report: dict[str, object] = {"comparisons": 1, "labels": 2, "alpha": None, "percent": None, "pairs": []}
    session.add(Agreement(run_id=run.id, labels=2, report=report | {"weights": {str(careful): 0.9, str(hasty): 0.3}}))
    session.flush()
    by_slot = {one.target.index(1.0): one.weight for one in planned(session, run).train}
    assert [by_slot[slot] for slot in range(3)] == pytest.approx(weights)


def test_calibration_and_disagreement_become_curves(session: Session) -> None:
    run = make_run(session)
    answer(session, make_comparison(session, run), Verdict.BEST, 1)
    job = plan.start_job(session, run.id, JobKind.TRAIN_REWARD, {})
    claim = fencing.claim(session, job.id, worker="test", stale_seconds=30)
    assert claim is not None
    report = {
        "loss_train": 1.25,
        "pearson_heldout": None,
        "disagreement_valid": 0.5,
        "calibration_heldout": {"n": 40, "error": 0.125, "brier": 0.75, "log_loss": 1.5, "bins": []},
    }
    record_reward_model(session, claim, reward_plan(session, claim), "digest", report)
    found = session.execute(select(Metric.name, Metric.value, Metric.step).where(Metric.run_id == run.id)).all()
    assert {name: value for name, value, _ in found} == {
        "reward/loss_train": 1.25,
        "reward/disagreement_valid": 0.5,
        "reward/calibration_error_heldout": 0.125,
        "reward/brier_heldout": 0.75,
    }
    assert {step for *_, step in found} == {1}
