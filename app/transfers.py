"""Ask for data to go in or out, as jobs; see how they go."""

import json
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import audit, jobs, runs, uploads
from app.errors import InvalidError, NotFoundError
from app.kinds import CARRIED, JobKind
from app.models import Checkpoint, CheckpointKind, Job, Purpose, Run
from app.orders import ExportOrder, LabelFormat, LabelOrder, Like, ModelOrder, Order, PromptOrder

LISTED = 50


def import_prompts(session: Session, order: PromptOrder, *, account_id: UUID | None) -> Job:
    """Queue an import of prompts; with `cut` a trainer does it, for it needs a tokenizer."""
    kind = JobKind.IMPORT_PROMPTS if order.cut is None else JobKind.CUT_PROMPTS
    job = queue(session, kind, order, run_id=None, account_id=account_id)
    audit.record(
        session, account_id, "prompts.asked", prompt_set=order.prompt_set, source=order.source, job=str(job.id)
    )
    return job


def import_labels(session: Session, run_id: UUID, order: LabelOrder, *, account_id: UUID | None) -> Job:
    """Queue an import of labels into a run. Raises: NotFoundError without such a run."""
    runs.get(session, run_id)
    job = queue(session, JobKind.IMPORT_LABELS, order, run_id=run_id, account_id=account_id)
    audit.record(session, account_id, "labels.asked", run_id=run_id, source=order.source, job=str(job.id))
    return job


def export_labels(session: Session, run_id: UUID, order: ExportOrder, *, account_id: UUID | None) -> Job:
    """Queue an export of a run's labels; as token ids a trainer writes them, for it needs a tokenizer."""
    runs.get(session, run_id)
    if unknown := set(order.scope.purposes or ()) - set(Purpose):
        raise InvalidError(f"There is no purpose {', '.join(sorted(unknown))}: choose of {', '.join(Purpose)}.")
    kind = JobKind.EXPORT_IDS if order.format == LabelFormat.IDS else JobKind.EXPORT_LABELS
    job = queue(session, kind, order, run_id=run_id, account_id=account_id)
    audit.record(session, account_id, "labels.exported", run_id=run_id, format=order.format, job=str(job.id))
    return job


def export_model(session: Session, order: ModelOrder, *, account_id: UUID | None) -> Job:
    """Queue an export of a checkpoint. Raises: NotFoundError without such a checkpoint."""
    checkpoint = session.get(Checkpoint, order.checkpoint)
    if checkpoint is None:
        raise NotFoundError("There is no such checkpoint.")
    job = queue(session, JobKind.EXPORT_MODEL, order, run_id=checkpoint.run_id, account_id=account_id)
    detail = {"checkpoint": str(checkpoint.id), "to": order.to, "job": str(job.id)}
    audit.record(session, account_id, "model.exported", run_id=checkpoint.run_id, **detail)
    return job


def folder_of(home: Path, job_id: UUID) -> Path:
    """Where the files of an export lie."""
    return home.expanduser() / "exports" / str(job_id)


def file_of(session: Session, home: Path, job_id: UUID, name: str) -> Path:
    """One file of an export that is done. Raises: NotFoundError if it has no such file."""
    job = session.get(Job, job_id)
    result = (job.result or {}) if job is not None else {}
    files = [*result.get("files", []), *result.get("model_files", [])]
    path = folder_of(home, job_id) / name
    if not any(file["name"] == name for file in files) or not path.is_file():
        raise NotFoundError("There is no such file: the job is not done, or its files were removed.")
    return path


def require_reachable(source: str) -> None:
    """What comes over HTTP may name uploads and the hub, not files of the server.

    Raises: InvalidError.
    """
    if source not in set(Like) and not uploads.is_upload(source) and source.startswith((".", "/", "~")):
        raise InvalidError(
            f"{source} is a path of the server: upload the file, or run `prefloop import-prompts` there."
        )


def queue(session: Session, kind: JobKind, order: Order, *, run_id: UUID | None, account_id: UUID | None) -> Job:
    """A new job row with its order, sent once the transaction has committed."""
    args = {"order": order.model_dump(mode="json"), "account": None if account_id is None else str(account_id)}
    if "\\u0000" in json.dumps(args):
        raise InvalidError("The order holds a NUL character: remove it.")
    job = Job(run_id=run_id, kind=kind, step=next_step(session, run_id, kind), args=args)
    session.add(job)
    session.flush()
    jobs.send_job(session, job.id, kind)
    return job


def next_step(session: Session, run_id: UUID | None, kind: JobKind) -> int:
    """Counts from 0 per run and kind; of jobs without a run it says nothing and stays 0."""
    if run_id is None:
        return 0
    session.execute(select(Run.id).where(Run.id == run_id).with_for_update(key_share=True))  # one at a time counts
    last = session.scalar(select(func.max(Job.step)).where(Job.run_id == run_id, Job.kind == kind))
    return 0 if last is None else last + 1


def newest_checkpoint(session: Session, run_id: UUID, kind: CheckpointKind, number: int | None) -> UUID:
    """A checkpoint of a run by its number, or the newest of its kind. Raises: NotFoundError."""
    query = select(Checkpoint.id).where(Checkpoint.run_id == run_id, Checkpoint.kind == kind)
    query = query.order_by(Checkpoint.number.desc()) if number is None else query.where(Checkpoint.number == number)
    found = session.scalar(query.limit(1))
    if found is None:
        raise NotFoundError(f"The run has no {kind.replace('_', ' ')}{'' if number is None else f' {number}'}.")
    return found


def newest(session: Session, *, limit: int = LISTED) -> Sequence[Job]:
    """The newest jobs that carry data."""
    return session.scalars(select(Job).where(Job.kind.in_(CARRIED)).order_by(Job.created_at.desc()).limit(limit)).all()
