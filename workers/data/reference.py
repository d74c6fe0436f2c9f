"""The import_model job: the base model becomes the run's reference policy, which serves first."""

from sqlalchemy.orm import Session

from app import runs
from app.hparams import TaskHParams
from app.jobs import wake_run
from app.models import Checkpoint, CheckpointKind
from workers import fencing
from workers.fencing import Claim


def asked(session: Session, claim: Claim) -> tuple[str, TaskHParams]:
    """Name of the run's base model, and the task it is for."""
    run = runs.get(session, claim.run_id)
    return run.base_model, runs.hparams_of(run).task


def record_reference(session: Session, claim: Claim, digest: str) -> None:
    """The reference checkpoint; it serves until a policy is promoted. Ends the job."""
    run = runs.get(session, claim.run_id)
    reference = Checkpoint(run_id=run.id, kind=CheckpointKind.REFERENCE, digest=digest, number=0)
    session.add(reference)
    session.flush()
    run.reference_id = run.serving_id = reference.id
    fencing.finish(session, claim, {"reference": str(reference.id)})
    wake_run(session, run.id)
