"""Jobs that write or score samples: sample, showcase, generate, score."""

import random
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from app import comparisons, prompts, runs, usable
from app.hparams import CollectionHParams
from app.models import (
    Checkpoint,
    Comparison,
    ComparisonSample,
    ComparisonState,
    Prompt,
    Purpose,
    Run,
    Sample,
    SamplePurpose,
    SampleScore,
    Split,
)
from app.reports.summaries import figures, measured
from workers import fencing, tracking
from workers.data.common import job_seed, policy_files, reward_files
from workers.fencing import Claim
from workers.plans import Judgement, PromptText, RewardFiles, SamplePlan, ScorePlan, StoredSample
from workers.sampler import SampledPrompt, SampleDraw

SHOWCASE_PROMPTS = 8
SCORE_CHUNK = 256
"""Samples per scoring job."""


def sample_plan(session: Session, claim: Claim) -> SamplePlan:
    """Prompts for `args["count"]` new comparisons; a share of them from the valid split, which trains nothing.

    With `args["trial"]` all of them set the candidate against the reference, if it still is one.
    """
    run = runs.get(session, claim.run_id)
    if "trial" in claim.args and run.candidate_id is not None:
        return _trial_plan(session, run, claim)
    hparams = runs.hparams_of(run)
    seed = job_seed(hparams.seed, claim)
    count = int(claim.args["count"])
    rng = random.Random(seed)
    valid = sum(rng.random() < hparams.schedule.valid_fraction for _ in range(count))
    train = prompts.pick(session, run, split=Split.TRAIN, count=count - valid, seed=seed)
    held_out = prompts.pick(session, run, split=Split.VALID, count=valid, seed=seed)
    validating = _validating(run, hparams.collection, len(train), seed)
    return SamplePlan(
        policy=policy_files(session, run, run.serving_id),
        reward=reward_files(session, run),
        task=hparams.task,
        prompts=_texts([*train, *held_out]),
        purposes=tuple(
            Purpose.EVALUATION if i >= len(train) else Purpose.VALIDATION if i in validating else Purpose.TRAIN
            for i in range(len(train) + len(held_out))
        ),
        seed=seed,
        against=policy_files(session, run, run.reference_id) if validating else None,
        validating=validating,
    )


def _trial_plan(session: Session, run: Run, claim: Claim) -> SamplePlan:
    hparams = runs.hparams_of(run)
    seed, count = job_seed(hparams.seed, claim), int(claim.args["count"])
    train = prompts.pick(session, run, split=Split.TRAIN, count=count, seed=seed)
    return SamplePlan(
        policy=policy_files(session, run, run.candidate_id),
        reward=reward_files(session, run),
        task=hparams.task,
        prompts=_texts(train),
        purposes=(Purpose.VALIDATION,) * len(train),
        seed=seed,
        against=policy_files(session, run, run.reference_id),
        validating=frozenset(range(len(train))),
    )


def record_samples(
    session: Session,
    claim: Claim,
    plan: SamplePlan,
    sampled: Sequence[SampledPrompt],
    scores: Mapping[int, Sequence[Judgement]],
) -> None:
    """Samples, their comparisons and, per prompt index, the scores of the reward model in `plan`; ends the job."""
    run = runs.get(session, claim.run_id)
    collection = runs.hparams_of(run).collection
    rng = random.Random(f"{plan.seed}:wanted")
    for one in sampled:
        prompt, purpose = plan.prompts[one.prompt], plan.purposes[one.prompt]
        rows = [_row(run, plan, prompt, draw, SamplePurpose.COMPARISON, one.rejected) for draw in one.draws]
        if plan.against is not None and one.prompt in plan.validating:
            for row in rows[len(rows) - len(rows) // 2 :]:
                row.policy_id = plan.against.checkpoint_id
        session.add_all(rows)
        session.flush()
        comparisons.create(
            session,
            run=run,
            prompt_id=prompt.id,
            sample_ids=[row.id for row in rows],
            policy_id=plan.policy.checkpoint_id,
            purpose=Purpose(purpose),
            wanted=comparisons.draw_wanted(collection, rng),
        )
        if plan.reward is not None:
            record_scores(session, plan.reward, dict(zip((r.id for r in rows), scores[one.prompt], strict=True)))
    if plan.task.summary:
        _record_copying(session, run, plan.policy.checkpoint_id)
    fencing.finish(session, claim, {"comparisons": len(sampled), "unfinished": len(plan.prompts) - len(sampled)})


def _record_copying(session: Session, run: Run, policy_id: UUID) -> None:
    """How much the policy that wrote just now copies, at the number of its episodes: 0 for the reference."""
    policy = session.get_one(Checkpoint, policy_id)
    found = figures(measured(session, run.id, policy_id))
    stats = {
        name: value if low is None or high is None else tracking.Estimate(value=value, low=low, high=high)
        for name, (value, low, high) in found.items()
    }
    tracking.record(session, run.id, policy.episodes, stats)


def showcase_plan(session: Session, claim: Claim) -> SamplePlan:
    """The run's fixed test prompts for the policy `args["policy"]`: the same for every policy, with the same seed."""
    run = runs.get(session, claim.run_id)
    hparams = runs.hparams_of(run)
    test = (Prompt.prompt_set == hparams.prompt_set, Prompt.split == Split.TEST)
    fixed = session.scalars(select(Prompt).where(*test).order_by(Prompt.digest).limit(SHOWCASE_PROMPTS)).all()
    return SamplePlan(
        policy=policy_files(session, run, UUID(claim.args["policy"])),
        reward=None,
        task=hparams.task,
        prompts=_texts(fixed),
        purposes=(),
        seed=hparams.seed,
    )


def record_showcase(
    session: Session, claim: Claim, plan: SamplePlan, draws: Sequence[Sequence[SampleDraw]]
) -> list[UUID]:
    """Showcase samples, one or more per prompt; ends the job. Returns: their ids, prompt by prompt."""
    run = runs.get(session, claim.run_id)
    rows = [
        _row(run, plan, prompt, draw, SamplePurpose.SHOWCASE, 0)
        for prompt, written in zip(plan.prompts, draws, strict=True)
        for draw in written
    ]
    session.add_all(rows)
    session.flush()
    fencing.finish(session, claim, {"samples": len(rows)})
    return [row.id for row in rows]


def generate_plan(session: Session, claim: Claim) -> SamplePlan:
    """A prompt that a researcher typed, for the checkpoint `args["checkpoint"]`."""
    run = runs.get(session, claim.run_id)
    hparams = runs.hparams_of(run)
    return SamplePlan(
        policy=policy_files(session, run, UUID(claim.args["checkpoint"])),
        reward=None,
        task=hparams.task,
        prompts=(PromptText(id=claim.job_id, text=str(claim.args["prompt"])),),
        purposes=(),
        seed=job_seed(hparams.seed, claim),
    )


def record_generated(session: Session, claim: Claim, draws: Sequence[SampleDraw]) -> None:
    """The texts become the job's result: a typed prompt is nobody's training data."""
    samples: list[dict[str, Any]] = [{"text": draw.text, "valid": draw.valid} for draw in draws]
    fencing.finish(session, claim, {"samples": samples})


def score_plan(session: Session, claim: Claim) -> ScorePlan | None:
    """Open samples that the newest reward model has not scored; None if there is nothing to do."""
    run = runs.get(session, claim.run_id)
    reward = reward_files(session, run)
    if reward is None:
        return None
    scored = exists().where(SampleScore.sample_id == Sample.id, SampleScore.reward_model_id == reward.checkpoint_id)
    queued = (Comparison.purpose.in_(usable.QUEUED), ~scored)
    rows = session.execute(
        select(Sample, Prompt.text)
        .join(Prompt, Prompt.id == Sample.prompt_id)
        .join(ComparisonSample, ComparisonSample.sample_id == Sample.id)
        .join(Comparison, Comparison.id == ComparisonSample.comparison_id)
        .where(Comparison.run_id == run.id, Comparison.state == ComparisonState.READY, *queued)
        .order_by(Comparison.promotion.desc(), Comparison.created_at, Sample.id)
        .limit(SCORE_CHUNK)
    ).all()
    samples = tuple(
        StoredSample(id=sample.id, prompt=text, token_ids=tuple(sample.token_ids[: sample.kept_tokens]))
        for sample, text in rows
    )
    policy = policy_files(session, run, run.reference_id)
    return ScorePlan(policy=policy, reward=reward, task=runs.hparams_of(run).task, samples=samples)


def record_scores(session: Session, reward: RewardFiles, scores: Mapping[UUID, Judgement]) -> None:
    """One reward model's scores of samples."""
    session.add_all(
        SampleScore(sample_id=sample_id, reward_model_id=reward.checkpoint_id, **judgement._asdict())
        for sample_id, judgement in scores.items()
    )
    session.flush()


def _validating(run: Run, collection: CollectionHParams, count: int, seed: int) -> frozenset[int]:
    """Which of `count` train prompts set the serving policy against the reference; none while that one serves."""
    if run.serving_id == run.reference_id:
        return frozenset()
    rng = random.Random(f"{seed}:validation")
    return frozenset(i for i in range(count) if rng.random() < collection.validation_share)


def _texts(rows: Sequence[Prompt]) -> tuple[PromptText, ...]:
    return tuple(PromptText(id=row.id, text=row.text) for row in rows)


def _row(
    run: Run, plan: SamplePlan, prompt: PromptText, draw: SampleDraw, purpose: SamplePurpose, rejected: int
) -> Sample:
    return Sample(
        run_id=run.id,
        prompt_id=prompt.id,
        policy_id=plan.policy.checkpoint_id,
        purpose=purpose,
        text=draw.text,
        token_ids=list(draw.tokens),
        logprobs=list(draw.logprobs),
        kept_tokens=draw.kept_tokens,
        valid=draw.valid,
        temperature=plan.task.temperature,
        seed=plan.seed,
        rejected=rejected,
    )
