"""The time from a label to the first sample that it had a part in."""

from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from app.models import CheckpointKind, Label, LabelSet, LabelSetItem
from bench.turnaround import turnarounds
from tests.app.test_labeling import best, lease
from tests.factories import make_account, make_checkpoint, make_comparison, make_prompt, make_run, make_sample

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: int) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def test_it_runs_from_the_newest_label_to_the_first_sample_of_the_first_policy(session: Session) -> None:
    run, ada = make_run(session), make_account(session)
    given = []
    for seconds in (0, 10):
        make_comparison(session, run)
        recorded = best(session, ada, lease(session, ada, run)[0])
        label = session.get_one(Label, recorded.label_id)
        label.created_at = at(seconds)
        given.append(label)
    labels = LabelSet(run_id=run.id, size=2)
    session.add(labels)
    session.flush()
    session.add_all(LabelSetItem(label_set_id=labels.id, label_id=label.id) for label in given)
    reward = make_checkpoint(session, run, kind=CheckpointKind.REWARD_MODEL, label_set_id=labels.id, created_at=at(25))
    make_checkpoint(session, run, kind=CheckpointKind.REWARD_MODEL, created_at=at(500), number=1)  # trained nothing
    for number, seconds in enumerate((70, 130)):
        policy = make_checkpoint(
            session, run, kind=CheckpointKind.POLICY, number=number, reward_model_id=reward.id, created_at=at(seconds)
        )
        for later in (9, 4):
            make_sample(session, run, make_prompt(session), policy=policy).created_at = at(seconds + later)
    session.flush()
    assert [tuple(row) for row in session.execute(turnarounds(run.id))] == [(2, at(10), at(25), at(70), at(74))]
