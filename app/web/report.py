"""A run to take away: a report that can be printed, and event files for TensorBoard."""

from collections.abc import Sequence
from math import isfinite
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, StreamingResponse
from fastapi.templating import Jinja2Templates
from sqlalchemy.orm import Session

from app import probes, reports, runs, tensorboard
from app.resources import folder
from app.web import plots
from app.web.deps import SessionDep, require_researcher

router = APIRouter(include_in_schema=False, dependencies=[Depends(require_researcher)])

WIDTH, HEIGHT = 320.0, 110.0
"""Of a curve in the report."""
DASH = 4.0
"""Half of the line that stands for a single point."""
EVERY_POINT = 5_000


@router.get("/runs/{run_id}/report")
def report_page(request: Request, run_id: UUID, session: SessionDep) -> HTMLResponse:
    """One HTML file: styles and curves are in it, so that it can be saved and sent."""
    return HTMLResponse(written(session, run_id, request.app.state.templates))


@router.get("/runs/{run_id}/tensorboard")
def tensorboard_file(run_id: UUID, session: SessionDep) -> StreamingResponse:
    """The run's curves as an event file; put it into a folder and point TensorBoard at that."""
    run = runs.get(session, run_id)
    all_series = reports.metrics(session, run.id, reports.metric_names(session, run.id), EVERY_POINT)
    name = f"events.out.tfevents.{int(run.created_at.timestamp())}.{run.id}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    content = tensorboard.event_file(all_series)
    return StreamingResponse(content, media_type="application/octet-stream", headers=headers)


def written(session: Session, run_id: UUID, templates: Jinja2Templates) -> str:
    """The report as HTML. Raises: NotFoundError without such a run."""
    report = reports.run_report(session, run_id)
    return templates.env.get_template("report.html").render(
        report=report,
        table=reports.summary_table(session, run_id),
        audited=reports.audit(session, run_id),
        probed=probes.newest(session, run_id),
        compared=plots.compared(reports.over_optimization(session, run_id, report.contests)),
        style=(folder("static") / "report.css").read_text(),
        line=line,
    )


def line(points: Sequence[reports.Point]) -> str:
    """A curve as points of an SVG polyline, fitted into WIDTH x HEIGHT."""
    finite = [point for point in points if isfinite(point.value)]
    if not finite:
        return ""
    steps, values = [point.step for point in finite], [point.value for point in finite]
    if len(finite) == 1:  # a dash, for a line of no length is not seen
        return f"{WIDTH / 2 - DASH:.1f},{HEIGHT / 2:.1f} {WIDTH / 2 + DASH:.1f},{HEIGHT / 2:.1f}"
    wide, high = max(steps) - min(steps) or 1, max(values) - min(values) or 1.0
    return " ".join(
        f"{(step - min(steps)) / wide * WIDTH:.1f},{HEIGHT - (value - min(values)) / high * HEIGHT:.1f}"
        for step, value in zip(steps, values, strict=True)
    )
