"""The page of data: bring prompts, see how it goes."""

import shutil
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse

from app import generation, prompts, transfers, uploads
from app.errors import InvalidError
from app.hparams import PRESETS, planned
from app.models import JobState
from app.orders import Cut, Like, PromptOrder, RowFormat
from app.settings import Settings
from app.web import pages
from app.web.api_data import MOST_UPLOAD_BYTES
from app.web.deps import ResearcherDep, SessionDep, SettingsDep

router = APIRouter(include_in_schema=False)

OPEN = (JobState.QUEUED, JobState.RUNNING)


@router.get("/data")
def page(request: Request, _: ResearcherDep, session: SessionDep) -> HTMLResponse:
    """Prompt sets, the form that brings prompts, the newest jobs."""
    jobs = transfers.newest(session)
    return pages.render(
        request,
        "data.html",
        sets=prompts.sets(session),
        jobs=jobs,
        busy=any(job.state in OPEN for job in jobs),
        formats=list(RowFormat),
        known=list(Like),
        presets=sorted(PRESETS),
    )


@router.get("/data/jobs/{job_id}")
def job_page(request: Request, job_id: UUID, _: ResearcherDep, session: SessionDep) -> HTMLResponse:
    """One job: how far it is, what it did, why it failed."""
    job = generation.job(session, job_id)
    return pages.render(request, "data_job.html", job=job, busy=job.state in OPEN)


@router.post("/data/prompts", max_body_size=MOST_UPLOAD_BYTES)
def import_prompts(
    me: ResearcherDep,
    session: SessionDep,
    settings: SettingsDep,
    prompt_set: Annotated[str, Form()],
    file: UploadFile | None = None,
    source: Annotated[str, Form()] = "",
    like: Annotated[str, Form()] = "",
    form: Annotated[RowFormat, Form(alias="format")] = RowFormat.AUTO,
    column: Annotated[str, Form()] = "",
    reference: Annotated[str, Form()] = "",
    preset: Annotated[str, Form()] = "",
    model: Annotated[str, Form()] = "",
    what: Annotated[str, Form()] = "import",
    keep_good: Annotated[bool, Form()] = False,
) -> RedirectResponse:
    """Queue an import or a dry run, and go to its page."""
    given = source.strip()
    if file is not None and file.filename:
        given = keep(settings, file)
    if not given:
        raise InvalidError("Choose a file or name a data set of the hub.")
    transfers.require_reachable(given)
    order = PromptOrder(
        prompt_set=prompt_set.strip() or given,
        source=given,
        format=form,
        like=Like(like) if like else None,
        column=column.strip() or None,
        reference_column=reference.strip() or None,
        cut=Cut(model=model.strip(), task=planned(preset).task) if preset and model.strip() else None,
        keep_good=keep_good,
        dry_run=what == "dry-run",
    )
    job = transfers.import_prompts(session, order, account_id=me.id)
    return pages.see_other(f"/data/jobs/{job.id}")


def keep(settings: Settings, file: UploadFile) -> str:
    """An uploaded file, kept; the source that names it."""
    with uploads.new_file(settings.home, file.filename or "") as (source, kept):
        shutil.copyfileobj(file.file, kept, 2**20)
    return source
