"""Runs side by side: what they were told, how far they came, any of their curves on one chart, and its data as CSV."""

import csv
import importlib.metadata
import io
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response

from app import reports, runs
from app.hparams import differing
from app.models import Run
from app.web import pages
from app.web.dashboard import CURVES, Curve, as_curve
from app.web.deps import SessionDep, require_researcher

router = APIRouter(include_in_schema=False, dependencies=[Depends(require_researcher)])

MOST_RUNS = 8
EVERY_POINT = 5_000
"""Points of a curve in a CSV file, at most; smallest and largest values stay."""

Runs = Annotated[list[UUID] | None, Query(max_length=MOST_RUNS)]


@router.get("/runs/compare")
def compare_page(request: Request, session: SessionDep, run: Runs = None) -> HTMLResponse:
    """The page; without runs it lets you choose some."""
    chosen = [runs.get(session, one) for one in dict.fromkeys(run or ())]
    return pages.render(
        request,
        "run_compare.html",
        every=runs.newest_first(session),
        chosen=chosen,
        summaries=[reports.run_summary(session, one.id) for one in chosen],
        differences=_differences(chosen),
        curves=CURVES,
        plotly_version=importlib.metadata.version("plotly"),
    )


@router.get("/runs/compare.json")
def compare_curves(
    session: SessionDep, run: Annotated[list[UUID], Query(max_length=MOST_RUNS)], name: str
) -> dict[str, Curve]:
    """One metric of several runs, by run."""
    found = {str(one): reports.metrics(session, runs.get(session, one).id, [name])[0] for one in run}
    return {one: as_curve(series.points) for one, series in found.items()}


@router.get("/runs/{run_id}/curves.csv")
def curves_csv(
    run_id: UUID, session: SessionDep, name: Annotated[list[str] | None, Query(max_length=64)] = None
) -> Response:
    """Points of the curves of a run, all of them or those of `name`, as a table."""
    run = runs.get(session, run_id)
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(("metric", "step", "value", "low", "high", "recorded_at"))
    for series in reports.metrics(session, run.id, name or reports.metric_names(session, run.id), EVERY_POINT):
        table.writerows(
            (series.name, one.step, one.value, one.low, one.high, one.recorded_at.isoformat()) for one in series.points
        )
    headers = {"Content-Disposition": f'attachment; filename="curves-{run.id}.csv"'}
    return Response(out.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _differences(chosen: Sequence[Run]) -> list[tuple[str, list[Any]]]:
    """Settings in which the runs are not alike, with the value of each."""
    all_hparams = [runs.hparams_of(run) for run in chosen]
    paths = differing(*all_hparams) if len(chosen) > 1 else []
    values = [one.model_dump(mode="json") for one in all_hparams]
    return [(path, [_at(one, path) for one in values]) for path in paths if path != "preset"]


def _at(values: Any, path: str) -> Any:
    for name in path.split("."):
        values = values[name]
    return values
