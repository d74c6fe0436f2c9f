"""Runs side by side: what they were told, how far they came, any of their curves on one chart, and its data as CSV."""

import importlib.metadata
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from app import reports, runs
from app.hparams import differences
from app.models import CheckpointKind, Run
from app.web import pages
from app.web.dashboard import CURVES, Curve, as_curve
from app.web.deps import SessionDep, require_researcher

router = APIRouter(include_in_schema=False, dependencies=[Depends(require_researcher)])

MOST_RUNS = 8
EVERY_POINT = 5_000
"""Points of a curve in a CSV file, at most; smallest and largest values stay."""

COUNTED = "labels/usable"
"""A curve that is counted from the labels themselves."""
POINT = ("step", "value", "low", "high", "recorded_at")

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
        curves=(COUNTED, *CURVES),
        plotly_version=importlib.metadata.version("plotly"),
    )


@router.get("/runs/compare.json")
def compare_curves(
    session: SessionDep, run: Annotated[list[UUID], Query(max_length=MOST_RUNS)], name: str
) -> dict[str, Curve]:
    """One metric of several runs, by run."""
    found = {str(one): _series(session, runs.get(session, one), name, reports.POINTS) for one in run}
    return {one: as_curve(series.points) for one, series in found.items()}


@router.get("/runs/{run_id}/curves.csv")
def curves_csv(
    run_id: UUID, session: SessionDep, name: Annotated[list[str] | None, Query(max_length=64)] = None
) -> Response:
    """Points of the curves of a run, all of them or those of `name`, as a table."""
    run = runs.get(session, run_id)
    found = list(reports.metrics(session, run.id, name or reports.metric_names(session, run.id), EVERY_POINT))
    if name is None or COUNTED in name:
        found = [one for one in found if one.name != COUNTED] + [reports.labels_over_time(session, run, EVERY_POINT)]
    rows = ((series.name, *_cells(one)) for series in found for one in series.points)
    return pages.csv_file(f"curves-{run.id}.csv", ("metric", *POINT), rows)


@router.get("/runs/{run_id}/policies.csv")
def policies_csv(run_id: UUID, session: SessionDep) -> Response:
    """Score and KL of each published policy: the frontier."""
    run = runs.get(session, run_id)
    found = reports.checkpoints(session, run.id, kinds=(CheckpointKind.POLICY,), limit=EVERY_POINT)
    rows = ((one.number, one.episodes, one.kl, one.report.get("score"), one.kl_coef) for one in found)
    return pages.csv_file(f"policies-{run.id}.csv", ("policy", "episodes", "kl", "score", "kl_coef"), rows)


@router.get("/runs/compare.csv")
def compared_csv(session: SessionDep, run: Annotated[list[UUID], Query(max_length=MOST_RUNS)], name: str) -> Response:
    """One metric of several runs as a table."""
    chosen = [runs.get(session, one) for one in run]
    rows = (
        (one.id, one.name, name, *_cells(point))
        for one in chosen
        for point in _series(session, one, name, EVERY_POINT).points
    )
    return pages.csv_file("compared.csv", ("run", "run_name", "metric", *POINT), rows)


def _series(session: Session, run: Run, name: str, points: int) -> reports.Series:
    if name == COUNTED:
        return reports.labels_over_time(session, run, points)
    return reports.metrics(session, run.id, [name], points)[0]


def _cells(point: reports.Point) -> tuple[object, ...]:
    return point.step, point.value, point.low, point.high, point.recorded_at.isoformat()


def _differences(chosen: Sequence[Run]) -> list[tuple[str, list[Any]]]:
    """Settings in which the runs are not alike, with the value of each."""
    found = differences(*map(runs.hparams_of, chosen))
    return [(path, values) for path, values in found.items() if path != "preset"]
