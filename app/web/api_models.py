"""The API of checkpoints, text on demand, and jobs."""

from uuid import UUID

from fastapi import APIRouter

from app import generation, reports, runs
from app.web.deps import ResearcherDep, SessionDep
from app.web.schemas import CheckpointsOut, GenerateRequest, JobOut, JobRef

router = APIRouter(prefix="/api/v1", tags=["models"])


@router.get("/runs/{run_id}/checkpoints")
def list_checkpoints(run_id: UUID, _: ResearcherDep, session: SessionDep) -> CheckpointsOut:
    """The run's checkpoints, newest first."""
    runs.get(session, run_id)
    return CheckpointsOut(checkpoints=reports.checkpoints(session, run_id))


@router.get("/checkpoints/{checkpoint_id}")
def show_checkpoint(checkpoint_id: UUID, _: ResearcherDep, session: SessionDep) -> reports.Lineage:
    """A checkpoint and those it came from."""
    return reports.lineage(session, checkpoint_id)


@router.post("/generate", status_code=202)
def generate(body: GenerateRequest, me: ResearcherDep, session: SessionDep) -> JobRef:
    """Let a checkpoint continue a prompt; ask for the job until it is done."""
    made = generation.ask(
        session, checkpoint_id=body.checkpoint, prompt=body.prompt, count=body.count, account_id=me.id
    )
    return JobRef(job=made.id)


@router.get("/jobs/{job_id}")
def show_job(job_id: UUID, _: ResearcherDep, session: SessionDep) -> JobOut:
    """Where a job stands, and its result."""
    return JobOut.of(generation.job(session, job_id))
