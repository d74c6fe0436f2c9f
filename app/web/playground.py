"""A prompt of one's own, continued by any two writers of a run side by side."""

from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app import reports, runs
from app.models import CheckpointKind
from app.web import pages
from app.web.deps import ResearcherDep, SessionDep

router = APIRouter(include_in_schema=False)

WRITERS = (CheckpointKind.POLICY, CheckpointKind.REFERENCE)


@router.get("/runs/{run_id}/playground")
def playground(request: Request, run_id: UUID, _: ResearcherDep, session: SessionDep) -> HTMLResponse:
    """The page; its script asks the API for text and shows it as it comes."""
    run = runs.get(session, run_id)
    found = reports.checkpoints(session, run_id, kinds=WRITERS)
    writers = [
        (one.id, "reference" if one.kind == CheckpointKind.REFERENCE else f"policy {one.number}") for one in found
    ]
    return pages.render(
        request, "playground.html", run=run, writers=writers, question=runs.hparams_of(run).task.question
    )
