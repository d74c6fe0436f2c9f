"""The jobs train_reward and leave_out: which labels they learn from, and what they leave behind."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import comparisons, reports, runs, usable
from app.hparams import RunHParams
from app.jobs import wake_run
from app.kinds import MOST_STRENGTH
from app.models import (
    Checkpoint,
    CheckpointKind,
    Comparison,
    ComparisonSample,
    ComparisonState,
    Label,
    LabelSet,
    LabelSetItem,
    Prompt,
    Run,
    Sample,
    Split,
)
from workers import fencing, tracking
from workers.data.common import job_seed, next_number, policy_files
from workers.fencing import Claim
from workers.plans import AheadPlan, LabeledComparison, LeaveOutPlan, RewardPlan, StoredSample
from workers.rlhf.labels import even, picked
from workers.tracking import Estimate

NORMALIZATION_PROMPTS = 512
"""Train prompts whose reference samples may normalise the scores; the trainer takes as many as it needs."""
AHEAD_SAMPLES = 4_096
"""Of the newest ones that are read before the first reward model asks; older ones are read when it does."""

FIGURES = (
    *("loss_train", "loss_heldout", "loss_valid", "pearson_heldout", "pearson_valid"),
    *("disagreement_valid", "gain", "bias"),
)
"""Of a trainer's report that become metrics under the same name."""
CALIBRATION = {"calibration_error": "error", "brier": "brier"}
"""Metric -> name in the report's calibration."""


def reward_plan(session: Session, claim: Claim) -> RewardPlan:
    """All usable labels as of now, split by prompt."""
    run = runs.get(session, claim.run_id)
    hparams = runs.hparams_of(run)
    found = _labels(session, run)
    return RewardPlan(
        reference=policy_files(session, run, run.reference_id),
        hparams=hparams,
        train=found.train,
        valid=found.valid,
        normalization_prompts=_normalization_prompts(session, hparams),
        seed=job_seed(hparams.seed, claim),
    )


def ahead_plan(session: Session, claim: Claim) -> AheadPlan | None:
    """What the first reward model will read, once all that it waits for has been written; None before, and after it."""
    run = runs.get(session, claim.run_id)
    hparams = runs.hparams_of(run)
    written = run.labels_usable + comparisons.open_count(session, run.id, trainable=True)
    if run.reward_model_id is not None or written < hparams.schedule.initial_labels:
        return None
    queued = (Comparison.run_id == run.id, Comparison.purpose.in_(usable.QUEUED))
    rows = session.execute(
        select(Sample.id, Prompt.text, Sample.token_ids, Sample.kept_tokens)
        .join(ComparisonSample, ComparisonSample.sample_id == Sample.id)
        .join(Comparison, Comparison.id == ComparisonSample.comparison_id)
        .join(Prompt, Prompt.id == Sample.prompt_id)
        .where(*queued, Comparison.state != ComparisonState.RETIRED)
        .order_by(Sample.created_at.desc(), Sample.id)
        .limit(AHEAD_SAMPLES)
    )
    return AheadPlan(
        reference=policy_files(session, run, run.reference_id),
        hparams=hparams,
        samples=tuple(StoredSample(id=id_, prompt=text, token_ids=tuple(ids[:kept])) for id_, text, ids, kept in rows),
        normalization_prompts=_normalization_prompts(session, hparams),
    )


def leave_out_plan(session: Session, claim: Claim) -> LeaveOutPlan:
    """All usable labels as of now, and those there would be without the labeler `args["labeler"]`."""
    run = runs.get(session, claim.run_id)
    hparams = runs.hparams_of(run)
    labeler = UUID(str(claim.args["labeler"]))
    everybody, others = _labels(session, run), _labels(session, run, without=labeler)
    return LeaveOutPlan(
        reference=policy_files(session, run, run.reference_id),
        hparams=hparams,
        everybody=everybody.train,
        theirs=frozenset(id_ for id_, giver in everybody.labeler_of.items() if giver == labeler),
        others=others.train,
        valid=others.valid,
        seed=hparams.seed,  # the same for everybody, so that labelers compare
    )


def _normalization_prompts(session: Session, hparams: RunHParams) -> tuple[str, ...]:
    in_train = (Prompt.prompt_set == hparams.prompt_set, Prompt.split == Split.TRAIN)
    prompts = session.scalars(select(Prompt.text).where(*in_train).order_by(Prompt.digest).limit(NORMALIZATION_PROMPTS))
    return tuple(prompts)


class _Labels(NamedTuple):
    """Usable labels of a run."""

    train: tuple[LabeledComparison, ...]
    valid: tuple[LabeledComparison, ...]
    labeler_of: dict[UUID, UUID]


def _labels(session: Session, run: Run, without: UUID | None = None) -> _Labels:
    hparams = runs.hparams_of(run)
    verdicts = hparams.reward.used_verdicts
    surplus = hparams.reward.uses_surplus
    labels = session.scalars(usable.usable_labels(run.id, verdicts, surplus=surplus, without=without)).all()
    may_train = usable.training_labels(run.id, verdicts, surplus=surplus, without=without)
    training = {label.id for label in session.scalars(may_train)}
    compared = _comparisons(session, labels, hparams.labeling.strength)
    train = [one for one, _ in compared if one.label_id in training]
    labeler_of = {label.id: label.labeler_id for label in labels}
    if hparams.reward.label_weights == "reliability":
        train = _weighted(session, run.id, train, labeler_of)
    return _Labels(tuple(train), tuple(one for one, split in compared if split == Split.VALID), labeler_of)


def _weighted(
    session: Session, run_id: UUID, train: Sequence[LabeledComparison], labeler_of: Mapping[UUID, UUID]
) -> list[LabeledComparison]:
    """The labels weighted by how much their labelers know, the mean weight being 1."""
    agreement = reports.agreement(session, run_id)
    known = agreement.weights if agreement else {}
    if not any(known.values()):
        return list(train)
    mean = sum(known.values()) / len(known)
    raw = [known.get(labeler_of[one.label_id], mean) for one in train]
    if not sum(raw):
        return list(train)
    return [replace(one, weight=weight * len(raw) / sum(raw)) for one, weight in zip(train, raw, strict=True)]


def record_reward_model(
    session: Session, claim: Claim, plan: RewardPlan, digest: str, report: Mapping[str, Any]
) -> None:
    """Label set, checkpoint and metrics; ends the job. `report` holds the trainer's figures, see its docstring."""
    run = runs.get(session, claim.run_id)
    label_set = LabelSet(run_id=run.id, size=len(plan.train))
    session.add(label_set)
    session.flush()
    session.add_all(LabelSetItem(label_set_id=label_set.id, label_id=one.label_id) for one in plan.train)
    checkpoint = Checkpoint(
        run_id=run.id,
        kind=CheckpointKind.REWARD_MODEL,
        digest=digest,
        number=next_number(session, run.id, CheckpointKind.REWARD_MODEL),
        parent_id=run.reference_id,
        label_set_id=label_set.id,
        episodes=run.episodes,
        report=dict(report),
    )
    session.add(checkpoint)
    session.flush()
    run.reward_model_id = checkpoint.id
    tracking.record(session, run.id, len(plan.train), _metrics(session, run.id, report))
    fencing.finish(session, claim, {"labels": len(plan.train), "reward_model": str(checkpoint.id)})
    wake_run(session, run.id)


def _comparisons(session: Session, labels: Iterable[Label], strength: bool) -> list[tuple[LabeledComparison, Split]]:
    by_comparison = {label.comparison_id: label for label in labels}
    rows = session.execute(
        select(Comparison.id, Prompt, Sample)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(ComparisonSample, ComparisonSample.comparison_id == Comparison.id)
        .join(Sample, Sample.id == ComparisonSample.sample_id)
        .where(Comparison.id.in_(by_comparison))
        .order_by(Comparison.id, ComparisonSample.slot)
    ).all()
    grouped: dict[UUID, list[tuple[Prompt, Sample]]] = defaultdict(list)
    for comparison_id, prompt, sample in rows:
        grouped[comparison_id].append((prompt, sample))
    return [_labeled(by_comparison[key], found, strength) for key, found in grouped.items()]


def _labeled(label: Label, found: list[tuple[Prompt, Sample]], strength: bool) -> tuple[LabeledComparison, Split]:
    prompt = found[0][0]
    sample_ids = tuple(sample.id for _, sample in found)
    chosen, k = label.chosen_sample_id, len(sample_ids)
    sureness = _sureness(label) if strength else 1.0
    return LabeledComparison(
        label_id=label.id,
        prompt_id=prompt.id,
        prompt=prompt.text,
        sample_ids=sample_ids,
        responses=tuple(tuple(sample.token_ids[: sample.kept_tokens]) for _, sample in found),
        target=even(k) if chosen is None else picked(sample_ids.index(chosen), k, sureness),
    ), prompt.split


def _sureness(label: Label) -> float:
    """How far its strength leads away from the tie, in (0, 1]; a label without one is sure."""
    return 1.0 if label.strength is None else label.strength / MOST_STRENGTH


def _metrics(session: Session, run_id: UUID, report: Mapping[str, Any]) -> dict[str, float | Estimate]:
    metrics: dict[str, float | Estimate] = {
        f"reward/{name}": float(report[name]) for name in FIGURES if report.get(name) is not None
    }
    for where in ("heldout", "valid"):
        calibration = report.get(f"calibration_{where}") or {}
        metrics |= {
            f"reward/{metric}_{where}": float(calibration[name])
            for metric, name in CALIBRATION.items()
            if name in calibration
        }
    for name in ("accuracy_heldout", "accuracy_valid"):
        if report.get(name) is not None:
            metrics[f"reward/{name}"] = Estimate(**report[name])
    incoming = reports.incoming_accuracy(session, run_id)
    if incoming is not None and incoming.n:
        metrics["reward/accuracy_incoming"] = Estimate(
            value=incoming.right / incoming.n, low=incoming.low, high=incoming.high
        )
    return metrics
