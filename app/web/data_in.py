"""Forms that bring prompts and labels: a file or a data set, looked at first or imported at once."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from app import runs, transfers
from app.errors import InvalidError
from app.hparams import PRESETS, planned
from app.models import Job
from app.orders import Cut, LabelOrder, Like, PromptOrder, RowFormat
from app.web import pages
from app.web.api_data import MOST_UPLOAD_BYTES
from app.web.deps import ResearcherDep, SessionDep, SettingsDep
from app.web.forms import NOTHING, Filled, FilledDep, ordered, source_of

router = APIRouter(include_in_schema=False)


@router.get("/data/prompts")
def prompts_form(request: Request, _: ResearcherDep) -> HTMLResponse:
    """The form that brings prompts."""
    return _prompts(request, NOTHING)


@router.post("/data/prompts", max_body_size=MOST_UPLOAD_BYTES)
def bring_prompts(
    request: Request, form: FilledDep, me: ResearcherDep, session: SessionDep, settings: SettingsDep
) -> Response:
    """Queue an import or a dry run and go to its page; with a mistake, the form again, its file kept."""
    source = ""
    try:
        source = source_of(settings, form)
        job = transfers.import_prompts(session, _prompt_order(form, source), account_id=me.id)
    except InvalidError as error:
        return _prompts(request, form, fault=error.detail, kept=source)
    return _job(job)


@router.get("/data/labels/in")
def labels_form(request: Request, _: ResearcherDep, session: SessionDep, run: UUID | None = None) -> HTMLResponse:
    """The form that brings labels into a run."""
    return _labels(request, session, NOTHING, chosen=str(run or ""))


@router.post("/data/labels/in", max_body_size=MOST_UPLOAD_BYTES)
def bring_labels(
    request: Request, form: FilledDep, me: ResearcherDep, session: SessionDep, settings: SettingsDep
) -> Response:
    """Queue an import or a dry run and go to its page; with a mistake, the form again, its file kept."""
    source = ""
    try:
        source = source_of(settings, form)
        if not source:
            raise InvalidError("Choose a file of labels.")
        order = ordered(
            LabelOrder,
            source=source,
            tokenizer=form.text("tokenizer") or None,
            prompt_set=form.text("prompt_set") or None,
            keep_good=form.is_on("keep_good"),
            dry_run=form.text("what") == "dry-run",
        )
        job = transfers.import_labels(session, _run(form), order, account_id=me.id)
    except InvalidError as error:
        return _labels(request, session, form, fault=error.detail, kept=source, chosen=form.text("run"))
    return _job(job)


def _prompt_order(form: Filled, source: str) -> PromptOrder:
    if not source:
        raise InvalidError("Choose a file or name a data set of the hub.")
    return ordered(
        PromptOrder,
        prompt_set=form.text("prompt_set") or source,
        source=source,
        format=form.text("format") or RowFormat.AUTO,
        like=form.text("like") or None,
        subset=form.text("subset") or None,
        split=form.text("split") or "train",
        column=form.text("column") or None,
        reference_column=form.text("reference") or None,
        clean=not form.is_on("as_they_are"),
        cut=_cut(form),
        keep_good=form.is_on("keep_good"),
        dry_run=form.text("what") == "dry-run",
    )


def _cut(form: Filled) -> Cut | None:
    preset, model = form.text("preset"), form.text("model")
    if not preset and not model:
        return None
    if not (preset and model):
        raise InvalidError("To cut prompts, choose the preset whose task cuts and name the model whose tokens count.")
    return ordered(Cut, model=model, task=planned(preset).task)


def _run(form: Filled) -> UUID:
    try:
        return UUID(form.text("run"))
    except ValueError as error:
        raise InvalidError("Choose a run.") from error


def _prompts(request: Request, form: Filled, **context: Any) -> HTMLResponse:
    return _page(
        request,
        "data_prompts.html",
        form,
        formats=list(RowFormat),
        known=list(Like),
        presets=sorted(PRESETS),
        **context,
    )


def _labels(request: Request, session: Session, form: Filled, **context: Any) -> HTMLResponse:
    return _page(request, "data_labels_in.html", form, runs=runs.newest_first(session), **context)


def _page(
    request: Request, template: str, form: Filled, *, fault: str | None = None, kept: str = "", **context: Any
) -> HTMLResponse:
    status = 422 if fault else 200
    return pages.render(request, template, status=status, form=form, fault=fault, kept=kept, **context)


def _job(job: Job) -> Response:
    return pages.see_other(f"/data/jobs/{job.id}")
