"""How well people label: the page of a run and of one labeler, the same as JSON, and leaving somebody out."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from app import exclusions, labeling, reports, runs
from app.models import JobState
from app.web import pages
from app.web.deps import ResearcherDep, SessionDep, require_researcher
from app.web.schemas import Cord, JobRef

router = APIRouter()
page = APIRouter(include_in_schema=False, dependencies=[Depends(require_researcher)])
api = APIRouter(prefix="/api/v1", tags=["quality"])


@page.get("/runs/{run_id}/quality")
def run_page(request: Request, run_id: UUID, session: SessionDep) -> HTMLResponse:
    """Everybody who labels, side by side."""
    found = reports.run_quality(session, run_id)
    return pages.render(
        request,
        "quality.html",
        run=runs.get(session, run_id),
        found=found,
        names=reports.names(session, found),
        matrix=reports.pair_matrix(found.agreement) if found.agreement else {},
    )


@page.get("/runs/{run_id}/labelers/{labeler_id}")
def labeler_page(request: Request, run_id: UUID, labeler_id: UUID, session: SessionDep) -> HTMLResponse:
    """One labeler beside all."""
    everybody = reports.labelers(session, run_id)[0]
    one = reports.labeler(session, run_id, labeler_id)
    job = exclusions.considered(session, run_id, labeler_id)
    busy = job is not None and job.state in (JobState.QUEUED, JobState.RUNNING)
    return pages.render(
        request,
        "quality_labeler.html",
        run=runs.get(session, run_id),
        one=one,
        everybody=everybody,
        job=job,
        busy=busy,
        taught=reports.taught(session, run_id, labeler_id),
    )


@page.post("/runs/{run_id}/labelers/{labeler_id}/without")
def consider_there(run_id: UUID, labeler_id: UUID, session: SessionDep) -> RedirectResponse:
    """Find out what leaving somebody out would change, and back to their page."""
    exclusions.consider(session, run_id, labeler_id)
    return pages.see_other(f"/runs/{run_id}/labelers/{labeler_id}#without")


@page.post("/runs/{run_id}/labelers/{labeler_id}/exclude")
def exclude_there(
    run_id: UUID, labeler_id: UUID, me: ResearcherDep, session: SessionDep, reason: Annotated[str, Form()]
) -> RedirectResponse:
    """Leave somebody out, and back to their page."""
    exclusions.exclude(session, run_id, labeler_id, me.id, reason)
    return pages.see_other(f"/runs/{run_id}/labelers/{labeler_id}")


@page.post("/runs/{run_id}/labelers/{labeler_id}/include")
def include_there(run_id: UUID, labeler_id: UUID, me: ResearcherDep, session: SessionDep) -> RedirectResponse:
    """Take somebody in again, and back to their page."""
    exclusions.include(session, run_id, labeler_id, me.id)
    return pages.see_other(f"/runs/{run_id}/labelers/{labeler_id}")


@page.post("/comparisons/{comparison_id}/unflag")
def unflag_there(comparison_id: UUID, me: ResearcherDep, session: SessionDep) -> RedirectResponse:
    """Put a flagged comparison back, and back to where it was listed."""
    return pages.see_other(f"/runs/{labeling.unflag(session, comparison_id, me.id)}/quality#flagged")


@api.get("/runs/{run_id}/quality")
def run_quality(run_id: UUID, _: ResearcherDep, session: SessionDep) -> reports.RunQuality:
    """Agreement, gold, repeats, biases, speed, of everybody and of each; what was flagged, why others were skipped."""
    return reports.run_quality(session, run_id)


@api.get("/runs/{run_id}/labelers/{labeler_id}")
def labeler_quality(run_id: UUID, labeler_id: UUID, _: ResearcherDep, session: SessionDep) -> reports.LabelerQuality:
    """One labeler."""
    return reports.labeler(session, run_id, labeler_id)


@api.post("/runs/{run_id}/labelers/{labeler_id}/without", status_code=202)
def consider(run_id: UUID, labeler_id: UUID, _: ResearcherDep, session: SessionDep) -> JobRef:
    """Find out what leaving somebody out would change; the job's result says it, and nothing is excluded."""
    return JobRef(job=exclusions.consider(session, run_id, labeler_id).id)


@api.post("/runs/{run_id}/labelers/{labeler_id}/exclude", status_code=204)
def exclude(run_id: UUID, labeler_id: UUID, body: Cord, me: ResearcherDep, session: SessionDep) -> None:
    """None of their answers counts any more; nothing is deleted."""
    exclusions.exclude(session, run_id, labeler_id, me.id, body.reason)


@api.post("/runs/{run_id}/labelers/{labeler_id}/include", status_code=204)
def include(run_id: UUID, labeler_id: UUID, me: ResearcherDep, session: SessionDep) -> None:
    """Their answers count again."""
    exclusions.include(session, run_id, labeler_id, me.id)


@api.delete("/comparisons/{comparison_id}/flag", status_code=204)
def unflag(comparison_id: UUID, me: ResearcherDep, session: SessionDep) -> None:
    """Put a flagged comparison back: its answers count again, and those it still wants are asked for."""
    labeling.unflag(session, comparison_id, me.id)


router.include_router(page)
router.include_router(api)
