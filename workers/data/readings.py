"""The read_samples job: samples as the reference and the newest reward model read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import runs
from app.hparams import TaskHParams
from app.models import Prompt, Sample, SampleReading, SampleScore
from workers import fencing
from workers.data.common import policy_files, reward_files
from workers.fencing import Claim
from workers.plans import Judgement, PolicyFiles, RewardFiles, StoredSample
from workers.token_kl import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingPlan:
    """What is not known yet of the samples asked for."""

    reference: PolicyFiles
    reward: RewardFiles | None
    task: TaskHParams
    unread: tuple[StoredSample, ...]
    unscored: tuple[StoredSample, ...]


def reading_plan(session: Session, claim: Claim) -> ReadingPlan:
    """The samples `args["samples"]` of the run, without those that are read or scored already.

    What no policy of this temperature wrote, such as a text of people, has no KL.
    """
    run = runs.get(session, claim.run_id)
    task, reward = runs.hparams_of(run).task, reward_files(session, run)
    read = exists().where(SampleReading.sample_id == Sample.id)
    has_kl = (func.cardinality(Sample.logprobs) == func.cardinality(Sample.token_ids), Sample.kept_tokens > 0)
    unread = _stored(session, claim, ~read, Sample.temperature == task.temperature, *has_kl)
    unscored: tuple[StoredSample, ...] = ()
    if reward is not None:
        newest = SampleScore.reward_model_id == reward.checkpoint_id
        scored = exists().where(SampleScore.sample_id == Sample.id, newest)
        unscored = _stored(session, claim, ~scored, Sample.kept_tokens > 0)
    files = policy_files(session, run, run.reference_id)
    return ReadingPlan(reference=files, reward=reward, task=task, unread=unread, unscored=unscored)


def _stored(session: Session, claim: Claim, *which: ColumnElement[bool]) -> tuple[StoredSample, ...]:
    asked = [UUID(str(one)) for one in claim.args["samples"]]
    rows = session.execute(
        select(Sample.id, Prompt.text, Sample.token_ids, Sample.kept_tokens)
        .join(Prompt, Prompt.id == Sample.prompt_id)
        .where(Sample.id.in_(asked), Sample.run_id == claim.run_id, *which)
        .order_by(Sample.created_at, Sample.id)
    )
    return tuple(StoredSample(id=id_, prompt=text, token_ids=tuple(ids[:kept])) for id_, text, ids, kept in rows)


def record_read(
    session: Session,
    claim: Claim,
    plan: ReadingPlan,
    readings: Mapping[UUID, Reading],
    judgements: Mapping[UUID, Judgement],
) -> None:
    """Readings and scores; ends the job."""
    record_readings(session, readings)
    if plan.reward is not None and judgements:
        rows = [
            {"sample_id": id_, "reward_model_id": plan.reward.checkpoint_id, **one._asdict()}
            for id_, one in judgements.items()
        ]
        session.execute(insert(SampleScore).values(rows).on_conflict_do_nothing())
    fencing.finish(session, claim, {"read": len(readings), "scored": len(judgements)})


def record_readings(session: Session, readings: Mapping[UUID, Reading]) -> None:
    """The KL of each token of samples that are in the database with their log-probabilities."""
    if not readings:
        return
    found = session.execute(select(Sample.id, Sample.logprobs).where(Sample.id.in_(readings)))
    rows = [_row(id_, nats, readings[id_]) for id_, nats in found]
    session.execute(insert(SampleReading).values(rows).on_conflict_do_nothing())


def _row(sample_id: UUID, nats: Sequence[float], reading: Reading) -> dict[str, object]:
    kl = [ours - theirs for ours, theirs in zip(nats, reading.logprobs, strict=False)]  # beyond the kept ones: none
    return {"sample_id": sample_id, "kl": sum(kl), "token_kl": kl, "token_ends": reading.ends}
