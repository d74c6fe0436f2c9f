"""The API of runs: list, create, pause, resume, stop, curves, exports."""

from collections.abc import Callable
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from app import exports, reports, runs
from app.errors import InvalidError
from app.hparams import PRESETS, differences, planned, settings_of
from app.models import Run
from app.web.deps import AccountDep, ResearcherDep, SessionDep, SessionFactoryDep
from app.web.schemas import (
    CloneRun,
    ComparedRuns,
    NewRun,
    Note,
    PresetsOut,
    RollBack,
    RunOut,
    RunsOut,
    SeriesOut,
    SettingsOut,
)

router = APIRouter(prefix="/api/v1", tags=["runs"])

Change = Callable[[Session, UUID, UUID | None, str | None], Run]
COMPARED = Query(min_length=1, max_length=50, description="Ids of runs.")
NAMES = Query(min_length=1, max_length=50, description="Metric names, such as `objective/kl`.")


@router.get("/runs")
def list_runs(_: AccountDep, session: SessionDep) -> RunsOut:
    """All runs, newest first."""
    return RunsOut(runs=[RunOut.of(run) for run in runs.newest_first(session)])


@router.post("/runs", status_code=201)
def create_run(body: NewRun, me: ResearcherDep, session: SessionDep) -> RunOut:
    """Start a run from a preset, with changes where wanted."""
    hparams = planned(body.preset, body.hparams)
    made = runs.create(session, name=body.name, base_model=body.base_model, hparams=hparams, actor_id=me.id)
    return RunOut.of(made)


@router.get("/runs/compare")
def compare_runs(_: ResearcherDep, session: SessionDep, run: Annotated[list[UUID], COMPARED]) -> ComparedRuns:
    """How far runs came, and the settings in which they differ; their curves are `GET /runs/{run_id}/metrics`."""
    chosen = [runs.get(session, one) for one in dict.fromkeys(run)]
    return ComparedRuns(
        runs=[reports.run_summary(session, one.id) for one in chosen],
        differences=differences(*map(runs.hparams_of, chosen)),
    )


@router.get("/runs/{run_id}")
def show_run(run_id: UUID, _: ResearcherDep, session: SessionDep) -> reports.RunSummary:
    """State, counters, current checkpoints, jobs."""
    return reports.run_summary(session, run_id)


@router.post("/runs/{run_id}/pause")
def pause(run_id: UUID, me: ResearcherDep, session: SessionDep, body: Note | None = None) -> RunOut:
    """Start nothing new."""
    return _changed(runs.pause, run_id, me.id, session, body)


@router.post("/runs/{run_id}/resume")
def resume(run_id: UUID, me: ResearcherDep, session: SessionDep, body: Note | None = None) -> RunOut:
    """Go on, and try failed jobs again."""
    return _changed(runs.resume, run_id, me.id, session, body)


@router.post("/runs/{run_id}/stop")
def stop(run_id: UUID, me: ResearcherDep, session: SessionDep, body: Note | None = None) -> RunOut:
    """End the run for good."""
    return _changed(runs.stop, run_id, me.id, session, body)


@router.post("/runs/{run_id}/finish")
def finish(run_id: UUID, me: ResearcherDep, session: SessionDep, body: Note | None = None) -> RunOut:
    """End the run as one that has done enough."""
    return _changed(runs.finish, run_id, me.id, session, body)


@router.post("/runs/{run_id}/rollback")
def roll_back(run_id: UUID, body: RollBack, me: ResearcherDep, session: SessionDep) -> RunOut:
    """Let PPO go on from an earlier policy or the reference."""
    return RunOut.of(runs.roll_back(session, run_id, body.checkpoint, me.id, body.note))


@router.post("/runs/{run_id}/clone", status_code=201)
def clone_run(run_id: UUID, body: CloneRun, me: ResearcherDep, session: SessionDep) -> RunOut:
    """Start another run with the same settings, changed where wanted."""
    made = runs.clone(session, run_id, name=body.name, base_model=body.base_model, changes=body.hparams, actor_id=me.id)
    return RunOut.of(made)


@router.get("/runs/{run_id}/hparams")
def show_settings(run_id: UUID, _: ResearcherDep, session: SessionDep) -> SettingsOut:
    """Every hyperparameter of the run with its documentation."""
    return SettingsOut(settings=settings_of(runs.hparams_of(runs.get(session, run_id))))


@router.get("/presets")
def list_presets(_: AccountDep) -> PresetsOut:
    """Names of the presets."""
    return PresetsOut(presets=list(PRESETS))


@router.get("/presets/{name}")
def show_preset(name: str, _: AccountDep) -> SettingsOut:
    """Every hyperparameter of a preset with its documentation."""
    return SettingsOut(settings=settings_of(planned(name)))


@router.get("/runs/{run_id}/metrics")
def metrics(
    run_id: UUID,
    _: ResearcherDep,
    session: SessionDep,
    name: Annotated[list[str], NAMES],
    points: Annotated[int, Query(ge=4, le=5000)] = 500,
) -> SeriesOut:
    """Curves, down-sampled to at most `points` each; smallest and largest values stay."""
    runs.get(session, run_id)
    return SeriesOut(series=reports.metrics(session, run_id, name, points))


@router.get("/runs/{run_id}/labels", response_class=StreamingResponse)
def export_labels(
    run_id: UUID,
    _: ResearcherDep,
    session: SessionDep,
    factory: SessionFactoryDep,
    format: exports.Format = exports.Format.JSONL,  # noqa: A002
) -> StreamingResponse:
    """The run's labels as JSON lines; see `LabelFormat`. Files, with conditions, are exports: `POST .../exports`."""
    runs.get(session, run_id)
    if format in (exports.Format.PARQUET, exports.Format.IDS):
        raise InvalidError(f"The form {format} is a file: ask for it with POST /api/v1/runs/{run_id}/labels/exports.")
    headers = {"Content-Disposition": f'attachment; filename="labels-{format}.jsonl"'}
    return StreamingResponse(exports.lines(factory, run_id, format), media_type="application/x-ndjson", headers=headers)


def _changed(change: Change, run_id: UUID, actor_id: UUID, session: Session, body: Note | None) -> RunOut:
    return RunOut.of(change(session, run_id, actor_id, body.note if body else None))
