"""Ask for data to go in or out, as jobs; see how they go."""

import json
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app import audit, jobs, runs, uploads
from app.errors import ConflictError, InvalidError, NotFoundError
from app.kinds import CARRIED, JobKind
from app.models import Account, Checkpoint, CheckpointKind, Job, JobState, Purpose, Run
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
    return exports_folder(home) / str(job_id)


def exports_folder(home: Path) -> Path:
    """Where exports lie, each in a folder of its own."""
    return home.expanduser() / "exports"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFile:
    """A file that an export wrote."""

    name: str
    bytes: int
    sha256: str
    is_there: bool
    """False: it was removed since."""


def files_of(home: Path, job: Job) -> list[ExportedFile]:
    """What an export that is done wrote."""
    result, folder = job.result or {}, folder_of(home, job.id)
    found = [*result.get("files", []), *result.get("model_files", [])]
    return [ExportedFile(**one, is_there=(folder / one["name"]).is_file()) for one in found]


def file_of(session: Session, home: Path, job_id: UUID, name: str) -> Path:
    """One file of an export that is done. Raises: NotFoundError if it has no such file."""
    job = session.get(Job, job_id)
    if job is None or not any(one.name == name and one.is_there for one in files_of(home, job)):
        raise NotFoundError("There is no such file: the job is not done, or its files were removed.")
    return folder_of(home, job_id) / name


def require_reachable(home: Path, source: str) -> None:
    """What comes over HTTP may name uploads that are here and the hub, not files of the server.

    Raises: InvalidError.
    """
    if uploads.is_upload(source):
        uploads.keep(home, source)
    if source not in set(Like) and not uploads.is_upload(source) and source.startswith((".", "/", "~")):
        raise InvalidError(
            f"{source} is a path of the server: upload the file, or run `prefloop import-prompts` there."
        )


def for_real(session: Session, job_id: UUID, *, keep_good: bool, account_id: UUID | None) -> Job:
    """Import what a dry run looked at.

    Args:
        keep_good: leave out what it found to be bad; otherwise as it was asked.
    Raises: NotFoundError without such a job, ConflictError if it is no dry run that is done.
    """
    dry = session.get(Job, job_id)
    if dry is None:
        raise NotFoundError("There is no such job.")
    asked = dry.args.get("order", {})
    if dry.state != JobState.DONE or not asked.get("dry_run"):
        raise ConflictError("Only a dry run that is done can be followed by an import.")
    asked = asked | {"dry_run": False, "keep_good": keep_good or asked["keep_good"]}
    if dry.kind == JobKind.IMPORT_LABELS and dry.run_id is not None:
        return import_labels(session, dry.run_id, LabelOrder.model_validate(asked), account_id=account_id)
    return import_prompts(session, PromptOrder.model_validate(asked), account_id=account_id)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A job that carries data, and whom it concerns."""

    job: Job
    run: str | None
    by: str | None

    @property
    def about(self) -> str:
        """What goes where, in a few words."""
        order = self.job.args.get("order", {})
        source = str(order.get("source", "")).rsplit("/", 1)[-1]
        words = (source, order.get("prompt_set") if self.run is None else self.run, order.get("to"))
        return ", ".join(word for word in words if word)


def newest(session: Session, *, limit: int = LISTED) -> list[Carried]:
    """The newest jobs that carry data."""
    return _carried(session, select(Job).where(Job.kind.in_(CARRIED)).order_by(Job.created_at.desc()).limit(limit))


def carried(session: Session, job_id: UUID) -> Carried:
    """One of them. Raises: NotFoundError."""
    found = _carried(session, select(Job).where(Job.id == job_id, Job.kind.in_(CARRIED)))
    if not found:
        raise NotFoundError("There is no such job.")
    return found[0]


def _carried(session: Session, query: Select[Job]) -> list[Carried]:
    found = session.scalars(query).all()
    asked = {job.id: UUID(job.args["account"]) for job in found if job.args.get("account")}
    named = select(Run.id, Run.name).where(Run.id.in_({job.run_id for job in found if job.run_id}))
    people = select(Account.id, Account.name).where(Account.id.in_(asked.values()))
    run_of = {row.id: row.name for row in session.execute(named)}
    name_of = {row.id: row.name for row in session.execute(people)}
    return [
        Carried(
            job=job,
            run=run_of[job.run_id] if job.run_id else None,
            by=name_of[asked[job.id]] if job.id in asked else None,
        )
        for job in found
    ]
