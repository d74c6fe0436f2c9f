"""The page of a checkpoint: what it came from, the labels behind it, and what was made from it."""

from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app import reports, runs
from app.web import pages
from app.web.deps import ResearcherDep, SessionDep

router = APIRouter(include_in_schema=False)


@router.get("/checkpoints/{checkpoint_id}")
def checkpoint_page(request: Request, checkpoint_id: UUID, _: ResearcherDep, session: SessionDep) -> HTMLResponse:
    """From a policy to its reward model to the labels, and back to what was made from it."""
    line = reports.lineage(session, checkpoint_id)
    shown = line.checkpoint
    return pages.render(
        request,
        "checkpoint.html",
        run=runs.get(session, shown.run_id),
        shown=shown,
        ancestors=line.ancestors,
        followers=[one for one in reports.checkpoints(session, shown.run_id) if _follows(one, checkpoint_id)],
        origins=reports.origins(session, shown.label_set_id) if shown.label_set_id else None,
    )


def _follows(one: reports.CheckpointReport, checkpoint_id: UUID) -> bool:
    return checkpoint_id in (one.parent_id, one.reward_model_id)
