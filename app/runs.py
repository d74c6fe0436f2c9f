"""Runs: create, pause, resume, roll back, finish, stop.

running ⇄ paused, and from both to finished and stopped. `finished` is set too when all episodes are done; nothing leads
out of `finished` and `stopped`.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app import audit, guidelines, jobs, practice, prompts, reports, retention
from app.errors import ConflictError, InvalidError, NotFoundError
from app.hparams import RunHParams, changed
from app.kinds import JobKind
from app.models import Checkpoint, CheckpointKind, Job, JobState, Phase, Run, Split, Standing

LEAST_TRAIN_PROMPTS = 16
"""Below this the same questions come back within one screenful."""

LEGAL: dict[Phase, tuple[Phase, ...]] = {
    Phase.RUNNING: (Phase.PAUSED, Phase.STOPPED, Phase.FINISHED),
    Phase.PAUSED: (Phase.RUNNING, Phase.STOPPED, Phase.FINISHED),
    Phase.FINISHED: (),
    Phase.STOPPED: (),
}
"""Phases a person may lead to from each phase."""


def create(session: Session, *, name: str, base_model: str, hparams: RunHParams, actor_id: UUID | None) -> Run:
    """Start a run; its first job registers the base model.

    Args:
        base_model: hub id, folder or name of a model that the trainers can reach.
    Raises: InvalidError without a name or model, without such a guideline, or if the prompt set is too
        small.
    """
    if not name.strip() or not base_model.strip():
        raise InvalidError("Give the run a name and a base model.")
    _check_prompts(session, hparams.prompt_set)
    run = Run(name=name.strip(), base_model=base_model.strip(), hparams=hparams.model_dump(mode="json"))
    session.add(run)
    session.flush()
    guidelines.publish(session, run.id, None, _guideline(hparams))
    practice.equip(
        session, run, practice.shipped(hparams.labeling.guideline or ""), hparams.task.samples_per_comparison
    )
    audit.record(session, actor_id, "run.created", run_id=run.id, name=run.name, base_model=run.base_model)
    jobs.wake_run(session, run.id)
    session.flush()
    return run


def clone(
    session: Session,
    run_id: UUID,
    *,
    name: str,
    actor_id: UUID | None,
    base_model: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Run:
    """Start another run with the settings of this one, and `changes` where wanted; labels are not taken along.

    Raises: NotFoundError; as `changed` and `create`.
    """
    origin = get(session, run_id)
    hparams = changed(hparams_of(origin), changes or {})
    made = create(session, name=name, base_model=base_model or origin.base_model, hparams=hparams, actor_id=actor_id)
    audit.record(session, actor_id, "run.cloned", run_id=made.id, origin=str(run_id))
    return made


def pause(session: Session, run_id: UUID, actor_id: UUID | None, note: str | None = None) -> Run:
    """Start nothing new; labeling of what is out goes on. Raises: ConflictError unless it is running."""
    return _change(session, run_id, Phase.PAUSED, actor_id, note)


def resume(session: Session, run_id: UUID, actor_id: UUID | None, note: str | None = None) -> Run:
    """Go on, and try again what failed. Raises: ConflictError unless it is paused."""
    run = _change(session, run_id, Phase.RUNNING, actor_id, note)
    retry_failed(session, run_id)
    return run


def stop(session: Session, run_id: UUID, actor_id: UUID | None, note: str | None = None) -> Run:
    """End a run for good. Raises: ConflictError if it has ended."""
    return _change(session, run_id, Phase.STOPPED, actor_id, note)


def finish(session: Session, run_id: UUID, actor_id: UUID | None, note: str | None = None) -> Run:
    """End a run as one that has done enough. Raises: ConflictError if it has ended."""
    return _change(session, run_id, Phase.FINISHED, actor_id, note)


def roll_back(
    session: Session, run_id: UUID, checkpoint_id: UUID, actor_id: UUID | None, note: str | None = None
) -> Run:
    """Let PPO go on from an earlier policy or the reference, with a fresh optimizer; what is in hand is dropped.

    An approved policy, and the reference, serve again from now on.
    Raises: NotFoundError without such a policy of the run, ConflictError if the run has ended, no PPO was done since,
        or the files of the policy were removed.
    """
    run = _locked(session, run_id)
    if not LEGAL[run.phase]:
        raise ConflictError(f"The run is {run.phase}: nothing goes on from anywhere. Clone it instead.")
    target = session.get(Checkpoint, checkpoint_id)
    policies = (CheckpointKind.POLICY, CheckpointKind.REFERENCE)
    if target is None or target.run_id != run_id or target.kind not in policies:
        raise NotFoundError("Choose a policy of this run, or its reference.")
    if target.episodes >= run.episodes:
        raise ConflictError(f"The run stands at {run.episodes} episodes: there is nothing behind it to go back over.")
    retention.require_files(target)
    _drop(session, run_id, JobKind.TRAIN_POLICY)
    told = {"to": str(target.id), "episodes": target.episodes, "from_episodes": run.episodes, "note": note or ""}
    reference = target.kind == CheckpointKind.REFERENCE
    run.training_state_id, run.episodes, run.candidate_id = None if reference else target.id, target.episodes, None
    if reference or target.standing == Standing.APPROVED:
        run.serving_id = target.id
        run.promotions += 1
    audit.record(session, actor_id, reports.ROLLED_BACK, run_id=run_id, **told)
    jobs.wake_run(session, run_id)
    session.flush()
    return run


def retry_failed(session: Session, run_id: UUID) -> int:
    """Queue the failed jobs of a run again; how many."""
    revived = session.execute(
        update(Job)
        .where(Job.run_id == run_id, Job.state == JobState.FAILED)
        .values(state=JobState.QUEUED, failures=0, sent_at=func.clock_timestamp())
        .returning(Job.id, Job.kind)
    )
    rows = revived.all()
    for job_id, kind in rows:
        jobs.send_job(session, job_id, kind)
    return len(rows)


def running(session: Session) -> Sequence[UUID]:
    """Runs that may act, oldest first."""
    return session.scalars(select(Run.id).where(Run.phase == Phase.RUNNING).order_by(Run.created_at)).all()


def newest_first(session: Session) -> Sequence[Run]:
    """All runs."""
    return session.scalars(select(Run).order_by(Run.created_at.desc())).all()


def get(session: Session, run_id: UUID) -> Run:
    """The run. Raises: NotFoundError."""
    run = session.get(Run, run_id)
    if run is None:
        raise NotFoundError("There is no such run.")
    return run


def checkpoint(session: Session, checkpoint_id: UUID) -> Checkpoint:
    """A checkpoint of any run. Raises: NotFoundError."""
    found = session.get(Checkpoint, checkpoint_id)
    if found is None:
        raise NotFoundError("There is no such checkpoint.")
    return found


def hparams_of(run: Run) -> RunHParams:
    """Its hyperparameters, typed."""
    return RunHParams.model_validate(run.hparams)


def _locked(session: Session, run_id: UUID) -> Run:
    lock = select(Run).where(Run.id == run_id).with_for_update()
    run = session.scalar(lock.execution_options(populate_existing=True))
    if run is None:
        raise NotFoundError("There is no such run.")
    return run


def _drop(session: Session, run_id: UUID, kind: JobKind) -> None:
    """End the open jobs of a kind; a worker that has one in hand finds that it was overtaken."""
    open_jobs = (Job.run_id == run_id, Job.kind == kind, Job.state != JobState.DONE)
    ended = {"state": JobState.DONE, "attempt": Job.attempt + 1, "finished_at": func.clock_timestamp()}
    session.execute(update(Job).where(*open_jobs).values(**ended, result={"dropped": "the run was rolled back"}))


def _change(session: Session, run_id: UUID, phase: Phase, actor_id: UUID | None, note: str | None) -> Run:
    run = _locked(session, run_id)
    if phase not in LEGAL[run.phase]:
        raise ConflictError(f"The run is {run.phase}: it cannot become {phase}.")
    run.phase, run.note = phase, (note or "").strip() or None
    audit.record(session, actor_id, f"run.{phase}", run_id=run_id, note=run.note)
    jobs.wake_run(session, run_id)
    session.flush()
    return run


def _guideline(hparams: RunHParams) -> str:
    name = hparams.labeling.guideline
    return hparams.task.question if name is None else guidelines.shipped(name)


def _check_prompts(session: Session, prompt_set: str) -> None:
    found = prompts.counts(session, prompt_set)
    lacking = {Split.TRAIN: LEAST_TRAIN_PROMPTS, Split.VALID: 1, Split.TEST: 1}
    for split, least in lacking.items():
        if found[split] < least:
            raise InvalidError(
                f"The prompt set {prompt_set!r} has {found[split]} prompts in its {split} split, a run needs {least}: "
                "import more with `prefloop import-prompts`."
            )
