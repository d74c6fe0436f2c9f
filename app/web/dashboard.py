"""The page of a run, the JSON it feeds on, and Plotly's script out of its wheel."""

import importlib.metadata
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import formatdate
from pathlib import Path
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import probes, reports, runs
from app.errors import InvalidError, UnavailableError
from app.models import CheckpointKind
from app.web import pages
from app.web.deps import PUBLIC, SessionDep, require_researcher

router = APIRouter(include_in_schema=False)
researchers = APIRouter(include_in_schema=False, dependencies=[Depends(require_researcher)])

CURVES = (
    "labels/required",
    "labels/per_minute",
    "queue/ready",
    "queue/oldest_minutes",
    "reward/accuracy_valid",
    "reward/accuracy_incoming",
    "reward/loss_heldout",
    "reward/loss_valid",
    "objective/score",
    "objective/score_total",
    "objective/kl",
    "objective/kl_coef",
    "objective/entropy",
    "objective/response_length",
    "objective/valid_fraction",
    "ppo/loss/value",
    "ppo/policy/clipfrac",
    "ppo/val/var_explained",
    "reward/calibration_error_heldout",
    "reward/calibration_error_valid",
    "time/episodes_per_second",
    "copying/novel_sentences",
    "copying/novel_bigrams",
    "copying/openings",
    "copying/position",
)
"""Metrics the page draws; it draws `labels/usable` too, which is counted from the labels themselves."""
LISTED = (CheckpointKind.REFERENCE, CheckpointKind.POLICY, CheckpointKind.REWARD_MODEL)
YEAR_SECONDS = 365 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A series as columns, which are a fraction of the size of a list of objects."""

    step: list[int]
    at: list[int]
    """Milliseconds since 1970, UTC."""
    value: list[float]
    low: list[float | None]
    high: list[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Curves by metric name."""

    curves: dict[str, Curve]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What changes with each reward training and promotion."""

    events: tuple[reports.Event, ...]
    showcase: reports.Showcase
    checkpoints: tuple[reports.CheckpointReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A status and the server's clock, by which ages are told."""

    now: datetime
    status: reports.Status


@researchers.get("/runs/{run_id}")
def run_page(request: Request, run_id: UUID, session: SessionDep) -> HTMLResponse:
    """The page; everything that changes on it comes from the routes below."""
    run = runs.get(session, run_id)
    version = importlib.metadata.version("plotly")
    return pages.render(
        request,
        "run.html",
        run=run,
        hparams=runs.hparams_of(run),
        plotly_version=version,
        table=reports.summary_table(session, run_id),
        audited=reports.audit(session, run_id),
        probed=probes.newest(session, run_id),
    )


@researchers.get("/runs/{run_id}/status.json")
def status(run_id: UUID, session: SessionDep) -> Snapshot:
    """Where the run stands; the stream of events says the same as it changes."""
    return snapshot(session, run_id)


@researchers.get("/runs/{run_id}/curves.json")
def curves(
    run_id: UUID,
    session: SessionDep,
    name: Annotated[list[str] | None, Query(max_length=64)] = None,
    after: Annotated[list[int] | None, Query(max_length=64)] = None,
) -> Curves:
    """All curves, or those of `name`, each from beyond the step of the `after` that stands at the same place."""
    run = runs.get(session, run_id)
    if after is not None and len(after) != len(name or ()):
        raise InvalidError("Give one `after` for each `name`, or none.")
    known = dict(zip(name or (), after or (), strict=False))
    found = list(reports.metrics(session, run.id, name or CURVES, after=known))
    if name is None:
        found.append(reports.labels_over_time(session, run))
    return Curves(curves={series.name: as_curve(series.points) for series in found})


@researchers.get("/runs/{run_id}/board.json")
def board(run_id: UUID, session: SessionDep) -> Tables:
    """Marks for the curves, samples side by side, checkpoints."""
    run = runs.get(session, run_id)
    return Tables(
        events=reports.events(session, run.id),
        showcase=reports.showcase(session, run.id),
        checkpoints=reports.checkpoints(session, run.id, kinds=LISTED),
    )


@router.get("/static/vendor/plotly.min.js", dependencies=[PUBLIC])
def plotly_script(request: Request) -> Response:
    """Plotly's script; its address carries the version, so browsers may keep it for good."""
    path = plotly_path()
    etag = f'"plotly-{importlib.metadata.version("plotly")}"'
    headers = {
        "ETag": etag,
        "Cache-Control": f"public, max-age={YEAR_SECONDS}, immutable",
        "Last-Modified": formatdate(path.stat().st_mtime, usegmt=True),
    }
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return FileResponse(path, media_type="text/javascript", headers=headers)


def plotly_path() -> Path:
    """Where the wheel keeps the script; found without importing Plotly, which takes a second.

    Raises: UnavailableError if the wheel lacks it.
    """
    spec = importlib.util.find_spec("plotly")
    path = Path(spec.origin).parent / "package_data" / "plotly.min.js" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise UnavailableError("Plotly's script is missing: pip install --force-reinstall plotly.")
    return path


def snapshot(session: Session, run_id: UUID) -> Snapshot:
    """Where the run stands now. Raises: NotFoundError."""
    now = session.scalars(select(func.clock_timestamp())).one()
    return Snapshot(now=now, status=reports.run_status(session, run_id, CURVES))


def as_curve(points: Sequence[reports.Point]) -> Curve:
    """Points as columns."""
    return Curve(
        step=[point.step for point in points],
        at=[round(point.recorded_at.timestamp() * 1000) for point in points],
        value=[point.value for point in points],
        low=[point.low for point in points],
        high=[point.high for point in points],
    )


router.include_router(researchers)
