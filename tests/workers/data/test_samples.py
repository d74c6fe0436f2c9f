"""Scores of samples as rows."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import CheckpointKind, SampleScore
from tests.factories import make_checkpoint, make_prompt, make_run, make_sample
from workers.data.samples import record_scores
from workers.plans import Judgement, RewardFiles


def test_a_score_is_kept_with_the_disagreement_of_an_ensemble_and_without_where_there_is_none(session: Session) -> None:
    run = make_run(session)
    model = make_checkpoint(session, run, kind=CheckpointKind.REWARD_MODEL)
    one, other = (make_sample(session, run, make_prompt(session)) for _ in range(2))
    files = RewardFiles(checkpoint_id=model.id, digest=model.digest)
    record_scores(session, files, {one.id: Judgement(0.5, 0.25), other.id: Judgement(-1.5, None)})
    rows = session.execute(select(SampleScore.sample_id, SampleScore.score, SampleScore.disagreement)).all()
    assert {sample: tuple(rest) for sample, *rest in rows} == {one.id: (0.5, 0.25), other.id: (-1.5, None)}
