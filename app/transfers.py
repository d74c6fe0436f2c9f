"""Ask for data to go in or out, as jobs; see how they go."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import audit, jobs, uploads
from app.errors import InvalidError
from app.kinds import CARRIED, JobKind
from app.models import Job, Run
from app.orders import Like, Order, PromptOrder

LISTED = 50


def import_prompts(session: Session, order: PromptOrder, *, account_id: UUID | None) -> Job:
    """Queue an import of prompts; with `cut` a trainer does it, for it needs a tokenizer."""
    kind = JobKind.IMPORT_PROMPTS if order.cut is None else JobKind.CUT_PROMPTS
    job = queue(session, kind, order, run_id=None, account_id=account_id)
    audit.record(
        session, account_id, "prompts.asked", prompt_set=order.prompt_set, source=order.source, job=str(job.id)
    )
    return job


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


def newest(session: Session, *, limit: int = LISTED) -> Sequence[Job]:
    """The newest jobs that carry data."""
    return session.scalars(select(Job).where(Job.kind.in_(CARRIED)).order_by(Job.created_at.desc()).limit(limit)).all()
