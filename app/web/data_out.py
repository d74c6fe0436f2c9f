"""Forms that take labels and models out."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from app import exports, reports, runs, transfers
from app.errors import InvalidError
from app.models import CheckpointKind, Purpose, Run, Split, Verdict
from app.orders import ExportOrder, LabelFormat, LabelScope, ModelOrder
from app.web import pages
from app.web.deps import ResearcherDep, SessionDep
from app.web.forms import NOTHING, Filled, FilledDep, ordered

router = APIRouter(include_in_schema=False)

MODELS = (CheckpointKind.POLICY, CheckpointKind.REWARD_MODEL, CheckpointKind.REFERENCE)
WRITERS = (CheckpointKind.POLICY, CheckpointKind.REFERENCE)
IMPORTED = {"only": True, "without": False}


@router.get("/data/labels/out")
def labels_form(request: Request, _: ResearcherDep, session: SessionDep, run: UUID | None = None) -> HTMLResponse:
    """The form that takes a run's labels out; without a run, of the newest."""
    return _labels(request, session, NOTHING, run)


@router.post("/data/labels/out")
def take_labels(request: Request, form: FilledDep, me: ResearcherDep, session: SessionDep) -> Response:
    """Queue an export and go to its page; with a mistake, the form again."""
    run_id = _id(form, "run")
    try:
        order = ordered(ExportOrder, format=form.text("format"), scope=_scope(form))
        job = transfers.export_labels(session, run_id, order, account_id=me.id)
    except InvalidError as error:
        return _labels(request, session, form, run_id, fault=error.detail)
    return pages.see_other(f"/data/jobs/{job.id}")


@router.get("/data/models")
def models_form(
    request: Request, _: ResearcherDep, session: SessionDep, run: UUID | None = None, checkpoint: UUID | None = None
) -> HTMLResponse:
    """The form that takes a model out; without a run, of the newest."""
    return _models(request, session, NOTHING, run, chosen=str(checkpoint or ""))


@router.post("/data/models")
def take_model(request: Request, form: FilledDep, me: ResearcherDep, session: SessionDep) -> Response:
    """Queue an export and go to its page; with a mistake, the form again."""
    run_id = _id(form, "run")
    try:
        order = ordered(ModelOrder, checkpoint=form.text("checkpoint"), to=form.text("to") or None)
        job = transfers.export_model(session, order, account_id=me.id)
    except InvalidError as error:
        return _models(request, session, form, run_id, chosen=form.text("checkpoint"), fault=error.detail)
    return pages.see_other(f"/data/jobs/{job.id}")


def _scope(form: Filled) -> LabelScope:
    """What is not ticked is not asked for; a group without a tick is no condition."""
    lists = ("purposes", "verdicts", "splits", "labelers", "policies")
    return ordered(
        LabelScope,
        **{name: tuple(found) for name in lists if (found := form.texts(name))},
        **{name: _time(form.text(name)) for name in ("since", "until") if form.text(name)},
        **{name: form.is_on(name) for name in ("current", "usable", "enabled")},
        imported=IMPORTED.get(form.text("imported")),
    )


def _time(text: str) -> datetime:
    """A moment that a browser's field gave, in UTC."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidError(f"{text} is no time: give it such as 2026-03-01T12:00.") from error


def _id(form: Filled, name: str) -> UUID:
    try:
        return UUID(form.text(name))
    except ValueError as error:
        raise InvalidError(f"Choose a {name}.") from error


def _labels(request: Request, session: Session, form: Filled, run_id: UUID | None, **context: Any) -> HTMLResponse:
    run = _run(session, run_id)
    return _page(
        request,
        "data_labels_out.html",
        session,
        form,
        run,
        formats=list(LabelFormat),
        purposes=list(Purpose),
        verdicts=list(Verdict),
        splits=list(Split),
        labelers=[] if run is None else exports.givers(session, run.id),
        policies=[] if run is None else reports.checkpoints(session, run.id, kinds=WRITERS),
        **context,
    )


def _models(request: Request, session: Session, form: Filled, run_id: UUID | None, **context: Any) -> HTMLResponse:
    run = _run(session, run_id)
    found = () if run is None else reports.checkpoints(session, run.id, kinds=MODELS)
    there = [one for one in found if one.removed_at is None]
    return _page(request, "data_models.html", session, form, run, checkpoints=there, **context)


def _run(session: Session, run_id: UUID | None) -> Run | None:
    if run_id is not None:
        return runs.get(session, run_id)
    return next(iter(runs.newest_first(session)), None)


def _page(
    request: Request,
    template: str,
    session: Session,
    form: Filled,
    run: Run | None,
    *,
    fault: str | None = None,
    **context: Any,
) -> HTMLResponse:
    every = runs.newest_first(session)
    return pages.render(
        request, template, status=422 if fault else 200, form=form, run=run, runs=every, fault=fault, **context
    )
