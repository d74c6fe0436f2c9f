"""Files go only when no run, label or evaluation names the checkpoint, nor a checkpoint that is named."""

from uuid import uuid4

import pytest
from sqlalchemy.orm import Session

from app import generation, labeling, retention
from app.errors import ConflictError
from app.models import Checkpoint, CheckpointKind, Evaluation, Role, Run, Verdict
from tests.factories import make_account, make_checkpoint, make_comparison, make_run

POLICY, REWARD, STATE = CheckpointKind.POLICY, CheckpointKind.REWARD_MODEL, CheckpointKind.TRAINING_STATE


def unwanted(session: Session) -> set[str]:
    return {one.digest for one in retention.unwanted(session)}


def test_what_the_run_names_stays_with_the_state_before(session: Session) -> None:
    run = make_run(session)
    oldest, before, now = [make_checkpoint(session, run, kind=STATE, number=n) for n in range(3)]
    now.parent_id, before.parent_id = before.id, oldest.id
    run.training_state_id = now.id
    run.serving_id = make_checkpoint(session, run, number=0).id
    run.candidate_id = make_checkpoint(session, run, number=1).id
    run.reward_model_id = make_checkpoint(session, run, kind=REWARD).id
    session.flush()
    assert unwanted(session) == {oldest.digest}


def test_a_policy_that_nobody_looked_at_may_go_with_its_reward_model(session: Session) -> None:
    run = make_run(session)
    reward = make_checkpoint(session, run, kind=REWARD)
    policy = make_checkpoint(session, run, reward_model_id=reward.id)
    assert unwanted(session) == {reward.digest, policy.digest}


def test_a_label_holds_the_policy_that_wrote_and_the_reward_model_behind_it(session: Session) -> None:
    run = make_run(session)
    reward = make_checkpoint(session, run, kind=REWARD)
    policy = make_checkpoint(session, run, reward_model_id=reward.id)
    comparison = make_comparison(session, run, policy=policy)
    assert unwanted(session) == {reward.digest, policy.digest}, "shown to nobody yet"
    labeler = make_account(session)
    lent = labeling.lease(session, labeler.id, run.id, count=1, lease_seconds=60)[0]
    assert lent.comparison_id == comparison.id
    labeling.record(session, labeler.id, lent.comparison_id, verdict=Verdict.TIE, choice=None, key="k")
    assert unwanted(session) == set()


def test_an_evaluation_holds_its_policy(session: Session) -> None:
    run = make_run(session)
    policy = make_checkpoint(session, run)
    session.add(Evaluation(run_id=run.id, policy_id=policy.id, judge="vader", samples=2, result={}))
    session.flush()
    assert unwanted(session) == set()


def test_files_that_a_wanted_checkpoint_shares_stay(session: Session) -> None:
    run = make_run(session)
    serving = make_checkpoint(session, run, digest="same")
    make_checkpoint(session, run, number=1, digest="same")
    run.serving_id = serving.id
    session.flush()
    assert unwanted(session) == set()


def test_what_came_to_be_wanted_after_the_survey_stays(session: Session) -> None:
    run = make_run(session)
    kept, going = make_checkpoint(session, run), make_checkpoint(session, run, number=1)
    run.serving_id = kept.id
    session.flush()
    assert [one.id for one in retention.let_go(session, {kept.id, going.id, uuid4()})] == [going.id]
    session.refresh(going)
    assert going.removed_at is not None
    assert unwanted(session) == set(), "it went once"
    assert going.digest not in retention.known_digests(session)


def test_a_removed_policy_writes_no_more_and_says_why(session: Session) -> None:
    run, removed = removed_policy(session)
    asker = make_account(session, role=Role.RESEARCHER)
    with pytest.raises(ConflictError, match="policy 0 were removed on"):
        generation.ask(session, checkpoint_id=removed.id, prompt="Once", count=1, account_id=asker.id)
    assert run.serving_id != removed.id


def removed_policy(session: Session) -> tuple[Run, Checkpoint]:
    run = make_run(session)
    removed = make_checkpoint(session, run)
    retention.let_go(session, {removed.id})
    session.refresh(removed)
    return run, removed
