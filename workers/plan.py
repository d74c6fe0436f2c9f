"""Between the tables and `workers.loop`: rows become a RunState, actions become job rows. Needs no torch."""

from dataclasses import replace
from uuid import UUID

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from app import andon, audit, comparisons, reports, settling, usable
from app.hparams import RunHParams
from app.jobs import send_job
from app.kinds import ASKED, CARRIED, JobKind
from app.models import (
    Checkpoint,
    CheckpointKind,
    Comparison,
    ComparisonSample,
    ComparisonState,
    Job,
    JobState,
    LabelSet,
    Metric,
    Phase,
    Run,
    Sample,
    SamplePurpose,
    SampleScore,
    Standing,
)
from workers import loop, tracking, watch

UNORDERED = (*ASKED, *CARRIED)
"""Kinds that people ask for; the loop does not wait for them."""

NOTE_SECONDS = 10
"""Between two points of the figures that follow the clock."""


def advance(session: Session, run_id: UUID) -> list[loop.Action]:
    """Decide and start what the run needs next. Does nothing while another does the same or the run stands still."""
    run = session.scalar(
        select(Run)
        .where(Run.id == run_id, Run.phase == Phase.RUNNING)
        .with_for_update(skip_locked=True, key_share=True)
    )
    if run is None:
        return []
    hparams = RunHParams.model_validate(run.hparams)
    comparisons.retire_stale(session, run)
    watch.watch(session, run, hparams)
    settling.settle(session, run.id, hparams.reward.used_verdicts, surplus=hparams.reward.uses_surplus)
    state = read_state(session, run)
    run.labels_usable = state.training_labels
    run.labels_required = loop.required_now(state, hparams)
    run.waiting_for = loop.waiting_for(state, hparams)
    _note(session, run)
    actions = loop.next_actions(state, hparams)
    for action in actions:
        apply(session, run, action)
    return actions


def _note(session: Session, run: Run) -> None:
    """Queue and schedule over time, by seconds since the run was created, at the first look of each interval."""
    age = session.scalar(select(func.extract("epoch", func.clock_timestamp() - Run.created_at)).where(Run.id == run.id))
    step = int(age or 0) // NOTE_SECONDS * NOTE_SECONDS
    if session.get(Metric, (run.id, "labels/required", step)) is not None:
        return  # what is noted is counted, which takes the longer the more wait
    stats = {
        "queue/ready": float(comparisons.ready_count(session, run.id)),
        "queue/oldest_minutes": reports.oldest_minutes(session, run.id),
        "labels/per_minute": reports.labels_per_minute(session, run.id),
        "labels/required": float(run.labels_required),
    }
    tracking.record(session, run.id, step, stats)


def read_state(session: Session, run: Run) -> loop.RunState:
    """What `loop.next_actions` wants to know of a run."""
    hparams = RunHParams.model_validate(run.hparams)
    reward = hparams.reward
    reward_labels, reward_episodes = _reward_model(session, run)
    state = loop.RunState(
        has_reference=run.reference_id is not None,
        stopped_line=andon.pulled(session, run.id) is not None,
        busy=_busy(session, run.id),
        training_labels=usable.count_training(session, run.id, reward.used_verdicts, surplus=reward.uses_surplus),
        reward_labels=reward_labels,
        reward_episodes=reward_episodes,
        episodes=run.episodes,
        open_training=0,
        supply_target=comparisons.supply_target(session, run.id),
        unscored=_unscored(session, run),
        candidate=_candidate(session, run),
        serving=watch.trial(session, run, run.serving_id),
        not_shown=_not_shown(session, run),
    )
    open_ = comparisons.open_count(session, run.id, trainable=True, most=loop.open_wanted(state, hparams))
    return replace(state, open_training=open_)


def apply(session: Session, run: Run, action: loop.Action) -> None:
    """Carry out one action within the caller's transaction, which holds the run's row."""
    match action:
        case loop.Start(kind=kind, args=args):
            start_job(session, run.id, kind, dict(args))
        case loop.Promote(evidence=evidence):
            _promote(session, run, evidence)
        case loop.Hold(reason=reason, evidence=evidence):
            _stand(session, run.candidate_id, Standing.HELD)
            told = {"policy": str(run.candidate_id), "reason": reason, "evidence": evidence}
            audit.record(session, None, "policy.held", run_id=run.id, **told)
            run.candidate_id = None
        case loop.Demote(reason=reason, evidence=evidence):
            _demote(session, run, reason, evidence)
        case loop.Finish():
            run.phase = Phase.FINISHED
            audit.record(session, None, "run.finished", run_id=run.id, episodes=run.episodes)


def _promote(session: Session, run: Run, evidence: dict[str, float]) -> None:
    _stand(session, run.candidate_id, Standing.APPROVED)
    before, run.serving_id, run.candidate_id = run.serving_id, run.candidate_id, None
    run.promotions += 1
    told = {"policy": str(run.serving_id), "instead_of": str(before), "evidence": evidence}
    audit.record(session, None, "policy.promoted", run_id=run.id, **told)


def _demote(session: Session, run: Run, reason: str, evidence: dict[str, float]) -> None:
    """The newest approved policy behind it serves again, else the reference: a promotion too, for what people see."""
    demoted = session.get_one(Checkpoint, run.serving_id)
    demoted.standing = Standing.DEMOTED
    approved = (
        Checkpoint.run_id == run.id,
        Checkpoint.standing == Standing.APPROVED,
        Checkpoint.removed_at.is_(None),
    )
    before = select(Checkpoint.id).where(*approved, Checkpoint.number < demoted.number)
    run.serving_id = session.scalar(before.order_by(Checkpoint.number.desc()).limit(1)) or run.reference_id
    run.promotions += 1
    told = {"policy": str(demoted.id), "reason": reason, "serves_now": str(run.serving_id), "evidence": evidence}
    audit.record(session, None, "policy.demoted", run_id=run.id, **told)


def _stand(session: Session, policy_id: UUID | None, standing: Standing) -> None:
    session.get_one(Checkpoint, policy_id).standing = standing


def start_job(session: Session, run_id: UUID, kind: JobKind, args: dict[str, int | str]) -> Job:
    """A new job row of the next step, sent once the transaction has committed."""
    last = session.scalar(select(func.max(Job.step)).where(Job.run_id == run_id, Job.kind == kind))
    job = Job(run_id=run_id, kind=kind, step=0 if last is None else last + 1, args=args)
    session.add(job)
    session.flush()
    send_job(session, job.id, kind)
    return job


def _busy(session: Session, run_id: UUID) -> frozenset[JobKind]:
    unfinished = select(Job.kind).where(Job.run_id == run_id, Job.state != JobState.DONE, Job.kind.not_in(UNORDERED))
    return frozenset(session.scalars(unfinished.distinct()))


def _reward_model(session: Session, run: Run) -> tuple[int | None, int]:
    """Labels when the newest one was asked for, or those it was fitted on if more; the run's episodes by then."""
    newest = select(LabelSet.size, Checkpoint.episodes).join(LabelSet, Checkpoint.label_set_id == LabelSet.id)
    found = session.execute(newest.where(Checkpoint.id == run.reward_model_id)).one_or_none()
    if found is None:
        return None, 0
    trainings = (Job.run_id == run.id, Job.kind == JobKind.TRAIN_REWARD, Job.state == JobState.DONE)
    asked = session.scalar(select(func.max(Job.args["labels"].as_integer())).where(*trainings))
    return max(found.size, asked or 0), found.episodes


def _unscored(session: Session, run: Run) -> bool:
    if run.reward_model_id is None:
        return False
    scored = exists().where(
        SampleScore.sample_id == ComparisonSample.sample_id, SampleScore.reward_model_id == run.reward_model_id
    )
    open_sample = (
        select(ComparisonSample.sample_id)
        .join(Comparison, Comparison.id == ComparisonSample.comparison_id)
        .where(
            Comparison.run_id == run.id,
            Comparison.state == ComparisonState.READY,
            Comparison.purpose.in_(usable.QUEUED),
            ~scored,
        )
    )
    return session.scalar(select(open_sample.exists())) or False


def _candidate(session: Session, run: Run) -> loop.Candidate | None:
    policy = session.get(Checkpoint, run.candidate_id) if run.candidate_id else None
    if policy is None:
        return None
    return loop.Candidate(
        kl=policy.report["kl"],
        valid_fraction=policy.report["valid_fraction"],
        trial=watch.trial(session, run, policy.id) or loop.Trial(),
    )


def _not_shown(session: Session, run: Run) -> str | None:
    shown = exists().where(Sample.policy_id == Checkpoint.id, Sample.purpose == SamplePurpose.SHOWCASE)
    newest = session.scalar(
        select(Checkpoint.id)
        .where(
            Checkpoint.run_id == run.id,
            Checkpoint.kind.in_((CheckpointKind.POLICY, CheckpointKind.REFERENCE)),
            Checkpoint.id.in_((run.reference_id, run.serving_id)),
            ~shown,
        )
        .order_by(Checkpoint.created_at)
        .limit(1)
    )
    return None if newest is None else str(newest)
