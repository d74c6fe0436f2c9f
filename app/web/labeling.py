"""The labeling page. What happens on it goes through the API."""

from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from app import comparisons, progress
from app.web import pages
from app.web.deps import AccountDep, SessionDep

router = APIRouter(include_in_schema=False)


@router.get("/label")
def choose_run(request: Request, _: AccountDep, session: SessionDep) -> Response:
    """On to the run that wants labels."""
    run_id = progress.run_to_label(session)
    if run_id is None:
        return pages.render(request, "label_none.html")
    return pages.see_other(f"/runs/{run_id}/label")


@router.get("/runs/{run_id}/label")
def label(request: Request, run_id: UUID, _: AccountDep, session: SessionDep) -> HTMLResponse:
    """The page for one run."""
    task = progress.task_of(session, run_id)
    return pages.render(request, "label.html", task=task, prefetch=comparisons.PREFETCH)
