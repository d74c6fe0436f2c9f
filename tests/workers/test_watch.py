"""From the tables to the cord: what is counted, when the plant pulls, what demotion and going back leave behind."""

from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import andon, reports, runs
from app.errors import ConflictError, NotFoundError
from app.hparams import RunHParams
from app.kinds import JobKind
from app.models import (
    Account,
    Assignment,
    AssignmentState,
    Audit,
    Checkpoint,
    CheckpointKind,
    Comparison,
    ComparisonSample,
    ComparisonState,
    JobState,
    Label,
    Purpose,
    Role,
    Run,
    Sample,
    SampleScore,
    Standing,
    Verdict,
)
from tests.factories import make_account, make_checkpoint, make_comparison, make_prompt, make_run
from workers import fencing, plan, tracking, watch

CALM = {
    "objective/score": 1.0,
    "objective/score_total": 0.4,
    "objective/kl": 4.0,
    "objective/kl_coef": 0.15,
    "objective/entropy": 40.0,
    "objective/valid_fraction": 0.5,
}


@pytest.fixture
def run(session: Session) -> Run:
    """A run whose policy 0 serves."""
    made = make_run(session)
    policy = make_checkpoint(session, made, episodes=320, kl_coef=0.2, standing=Standing.APPROVED)
    made.serving_id, made.episodes = policy.id, 640
    session.flush()
    return made


@pytest.fixture
def ada(session: Session) -> Account:
    """A labeler."""
    return make_account(session)


def blind(session: Session, run: Run, policy_id: UUID | None) -> Comparison:
    """Two samples of the reference, two of a policy."""
    made = make_comparison(session, run, purpose=Purpose.VALIDATION)
    for slot, sample in enumerate(samples(session, made)):
        sample.policy_id = run.reference_id if slot < 2 else policy_id  # type: ignore[assignment]
    session.flush()
    return made


def samples(session: Session, made: Comparison) -> list[Sample]:
    of_it = select(Sample).join(ComparisonSample).where(ComparisonSample.comparison_id == made.id)
    return list(session.scalars(of_it.order_by(ComparisonSample.slot)))


def answer(session: Session, made: Comparison, labeler: Account, slot: int) -> Label:
    chosen = samples(session, made)[slot]
    held = Assignment(
        comparison_id=made.id,
        labeler_id=labeler.id,
        state=AssignmentState.ANSWERED,
        shown=[sample.id for sample in samples(session, made)],
        expires_at=made.created_at,
    )
    session.add(held)
    session.flush()
    label = Label(
        comparison_id=made.id,
        labeler_id=labeler.id,
        assignment_id=held.id,
        revision=1,
        verdict=Verdict.BEST,
        chosen_sample_id=chosen.id,
        idempotency_key=str(uuid4()),
    )
    made.state = ComparisonState.LABELED
    session.add(label)
    session.flush()
    return label


def hparams(run: Run) -> RunHParams:
    return runs.hparams_of(run)


def test_wins_are_counted_by_policy_and_from_the_last_release_on(session: Session, run: Run, ada: Account) -> None:
    other = make_checkpoint(session, run, number=1)
    for policy_id, slot in [(run.serving_id, 0), (run.serving_id, 3), (run.serving_id, 1), (other.id, 2)]:
        answer(session, blind(session, run, policy_id), ada, slot)
    answer(session, make_comparison(session, run), ada, 0)  # of one policy alone: nobody wins
    found = watch.trial(session, run, run.serving_id)
    assert found is not None
    assert (found.won, found.lost, found.attempt) == (1, 2, 1)
    second = watch.trial(session, run, other.id)
    assert second is not None
    assert (second.won, second.lost, second.attempt) == (1, 0, 2)
    assert watch.trial(session, run, run.reference_id) is None
    andon.pull(session, run.id, None, "to see")
    andon.release(session, run.id, make_account(session, "Grace", Role.RESEARCHER).id, "seen")
    later = watch.trial(session, run, run.serving_id)
    assert later is not None
    assert (later.won, later.lost) == (0, 0)


def test_choices_are_held_against_scores_that_were_there_before(session: Session, run: Run, ada: Account) -> None:
    model = make_checkpoint(session, run, kind=CheckpointKind.REWARD_MODEL)
    run.reward_model_id = model.id
    for slot in (0, 1, 2, 3, 3):
        made = make_comparison(session, run, prompt=make_prompt(session))
        for score, sample in enumerate(samples(session, made)):
            session.add(SampleScore(sample_id=sample.id, reward_model_id=model.id, score=float(score)))
        session.flush()
        answer(session, made, ada, slot)
    unscored = make_comparison(session, run)
    answer(session, unscored, ada, 0)
    found = reports.choices(session, run, run.created_at)
    assert (found.hits, found.misses) == (3, 2)


def test_the_plant_pulls_says_why_and_goes_on_once_released(session: Session, run: Run) -> None:
    for update in range(1, 21):
        tracking.record(session, run.id, update * 32, CALM | {"objective/kl": 4.0 if update < 16 else 30.0})
    assert watch.watch(session, run, hparams(run)) == [
        "The KL from the reference is 30.0 nats over the last 5 updates, its bound 24.0."
    ]
    pull = andon.pulled(session, run.id)
    assert pull is not None
    assert pull.pulled_by_id is None
    assert pull.reason.startswith("The KL from the reference is 30.0 nats")
    assert watch.watch(session, run, hparams(run)) == []
    andon.release(session, run.id, make_account(session, "Grace", Role.RESEARCHER).id, "the target was too low")
    assert watch.watch(session, run, hparams(run)) == []


def test_a_healthy_run_is_left_alone(session: Session, run: Run) -> None:
    for update in range(1, 21):
        tracking.record(session, run.id, update * 32, CALM)
    assert watch.watch(session, run, hparams(run)) == []
    assert andon.pulled(session, run.id) is None


def test_a_policy_that_loses_is_demoted_and_the_line_stops(session: Session, run: Run, ada: Account) -> None:
    worse = make_checkpoint(session, run, number=1, episodes=640, standing=Standing.APPROVED)
    before, run.serving_id = run.serving_id, worse.id
    for _ in range(13):
        answer(session, blind(session, run, worse.id), ada, 0)
    plan.advance(session, run.id)
    assert (run.serving_id, worse.standing) == (before, Standing.DEMOTED)
    pull = andon.pulled(session, run.id)
    assert pull is not None
    assert "won 0 of 13 blind comparisons" in pull.reason
    entry = session.scalars(select(Audit).where(Audit.action == "policy.demoted")).one()
    assert (entry.detail["serves_now"], entry.detail["evidence"]["lost"]) == (str(before), 13)


def test_going_back_moves_training_and_serving_and_drops_what_is_in_hand(session: Session, run: Run) -> None:
    target = run.serving_id
    later = make_checkpoint(session, run, number=1, episodes=640, standing=Standing.APPROVED)
    run.serving_id = later.id
    job = plan.start_job(session, run.id, JobKind.TRAIN_POLICY, {"updates": 3})
    claim = fencing.claim(session, job.id, worker="w", stale_seconds=30)
    assert claim is not None
    assert target is not None
    runs.roll_back(session, run.id, target, None, "it repeats itself")
    assert (run.training_state_id, run.serving_id, run.episodes) == (target, target, 320)
    session.refresh(job)
    assert job.state == JobState.DONE
    with pytest.raises(fencing.LostJobError):
        fencing.finish(session, claim, {})
    entry = session.scalars(select(Audit).where(Audit.action == "run.rolled_back")).one()
    assert (entry.detail["from_episodes"], entry.detail["note"]) == (640, "it repeats itself")


def test_going_back_is_refused_where_there_is_nothing_to_go_back_over(session: Session, run: Run) -> None:
    assert run.serving_id is not None
    stranger = make_checkpoint(session, make_run(session))
    with pytest.raises(NotFoundError):
        runs.roll_back(session, run.id, stranger.id, None)
    session.get_one(Checkpoint, run.serving_id).episodes = 640
    with pytest.raises(ConflictError, match="nothing behind it"):
        runs.roll_back(session, run.id, run.serving_id, None)
    runs.finish(session, run.id, None)
    with pytest.raises(ConflictError, match="Clone it instead"):
        runs.roll_back(session, run.id, run.serving_id, None)


def test_back_to_the_reference_ppo_begins_anew(session: Session, run: Run) -> None:
    assert run.reference_id is not None
    runs.roll_back(session, run.id, run.reference_id, None)
    assert (run.training_state_id, run.serving_id, run.episodes) == (None, run.reference_id, 0)
