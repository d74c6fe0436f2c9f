"""Scores of samples as rows."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.kinds import JobKind
from app.models import CheckpointKind, Comparison, ComparisonSample, Purpose, Run, Sample, SampleScore
from tests.factories import make_checkpoint, make_prompt, make_run, make_sample
from workers import fencing, plan
from workers.data.samples import record_samples, record_scores, sample_plan
from workers.fencing import Claim
from workers.plans import Judgement, RewardFiles
from workers.sampler import SampledPrompt, SampleDraw


def test_a_score_is_kept_with_the_disagreement_of_an_ensemble_and_without_where_there_is_none(session: Session) -> None:
    run = make_run(session)
    model = make_checkpoint(session, run, kind=CheckpointKind.REWARD_MODEL)
    one, other = (make_sample(session, run, make_prompt(session)) for _ in range(2))
    files = RewardFiles(checkpoint_id=model.id, digest=model.digest)
    record_scores(session, files, {one.id: Judgement(0.5, 0.25), other.id: Judgement(-1.5, None)})
    rows = session.execute(select(SampleScore.sample_id, SampleScore.score, SampleScore.disagreement)).all()
    assert {sample: tuple(rest) for sample, *rest in rows} == {one.id: (0.5, 0.25), other.id: (-1.5, None)}


def claimed(session: Session, run: Run, count: int) -> Claim:
    job = plan.start_job(session, run.id, JobKind.SAMPLE, {"count": count})
    claim = fencing.claim(session, job.id, worker="test", stale_seconds=30)
    assert claim is not None
    return claim


def drawn(name: str) -> SampleDraw:
    return SampleDraw(tokens=[1], logprobs=[-1.0], kept_tokens=1, valid=True, text=name)


def test_validation_comparisons_set_the_serving_policy_against_the_reference(session: Session) -> None:
    run = make_run(session)
    everything = {"validation_share": 1.0, "overlap_share": 1.0, "overlap_labelers": 3}
    run.hparams = run.hparams | {"collection": everything}
    run.hparams["schedule"]["valid_fraction"] = 0.0
    for _ in range(4):
        make_prompt(session)
    claim = claimed(session, run, 2)
    asked = sample_plan(session, claim)
    assert (asked.against, asked.purposes) == (None, (Purpose.TRAIN,) * 2)  # the reference itself serves
    run.serving_id = make_checkpoint(session, run).id
    asked = sample_plan(session, claim)
    assert asked.against is not None
    assert (asked.against.checkpoint_id, asked.policy.checkpoint_id) == (run.reference_id, run.serving_id)
    assert (asked.purposes, asked.validating) == ((Purpose.VALIDATION,) * 2, frozenset({0, 1}))
    written = [SampledPrompt(prompt=i, draws=[drawn(f"{i}{j}") for j in range(4)], rejected=0) for i in range(2)]
    record_samples(session, claim, asked, written, {})
    for made in session.scalars(select(Comparison)):
        assert (made.purpose, made.wanted) == (Purpose.VALIDATION, 3)
        assert policies(session, made) == [run.serving_id] * 2 + [run.reference_id] * 2


def policies(session: Session, comparison: Comparison) -> list[UUID]:
    members = select(Sample.policy_id).join(ComparisonSample, ComparisonSample.sample_id == Sample.id)
    of_it = members.where(ComparisonSample.comparison_id == comparison.id)
    return list(session.scalars(of_it.order_by(ComparisonSample.slot)))
