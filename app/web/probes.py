"""Probes of a run's reward model, asked for from its page and over the API."""

from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import RedirectResponse

from app import probes
from app.web import pages
from app.web.deps import ResearcherDep, SessionDep
from app.web.schemas import JobRef

router = APIRouter()


@router.post("/runs/{run_id}/probes", include_in_schema=False)
def probe_there(run_id: UUID, _: ResearcherDep, session: SessionDep) -> RedirectResponse:
    """Probe the newest reward model, and back to the run."""
    probes.ask(session, run_id)
    return pages.see_other(f"/runs/{run_id}#probes")


@router.post("/api/v1/runs/{run_id}/probes", status_code=202, tags=["runs"])
def probe(run_id: UUID, _: ResearcherDep, session: SessionDep) -> JobRef:
    """Hold the newest reward model against changed texts whose order is known; the job's result says how it did."""
    return JobRef(job=probes.ask(session, run_id).id)
