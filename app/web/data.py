"""The page of data: what is here, what was carried in and out, how a job goes."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from app import prompts, transfers
from app.models import JobState
from app.web import pages
from app.web.deps import ResearcherDep, SessionDep, SettingsDep

router = APIRouter(include_in_schema=False)

OPEN = (JobState.QUEUED, JobState.RUNNING)


@router.get("/data")
def page(request: Request, _: ResearcherDep, session: SessionDep) -> HTMLResponse:
    """Prompt sets, and the newest jobs."""
    found = transfers.newest(session)
    busy = any(one.job.state in OPEN for one in found)
    return pages.render(request, "data.html", sets=prompts.sets(session), jobs=found, busy=busy)


@router.get("/data/jobs/{job_id}")
def job_page(
    request: Request, job_id: UUID, _: ResearcherDep, session: SessionDep, settings: SettingsDep
) -> HTMLResponse:
    """One job: what was asked, how far it is, what it did, why it failed."""
    one = transfers.carried(session, job_id)
    return pages.render(
        request,
        "data_job.html",
        one=one,
        job=one.job,
        busy=one.job.state in OPEN,
        order={name: value for name, value in one.job.args["order"].items() if value not in (None, False, {}, "")},
        facts=one.job.result or one.job.progress or {},
        files=transfers.files_of(settings.home, one.job),
        file_days=settings.file_days,
    )


@router.post("/data/jobs/{job_id}/import")
def import_for_real(
    job_id: UUID, me: ResearcherDep, session: SessionDep, keep_good: Annotated[bool, Form()] = False
) -> RedirectResponse:
    """Import what a dry run looked at, and go to that job."""
    job = transfers.for_real(session, job_id, keep_good=keep_good, account_id=me.id)
    return pages.see_other(f"/data/jobs/{job.id}")
