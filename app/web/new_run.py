"""A new run from a preset or another run: every hyperparameter with its documentation, checked at the field."""

from collections.abc import Mapping
from itertools import groupby
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy.orm import Session

from app import prompts, runs
from app.errors import InvalidError
from app.hparams import PRESETS, InvalidSettingsError, RunHParams, changed, planned, settings_of, typed
from app.web import pages
from app.web.deps import ResearcherDep, SessionDep
from app.welcome import DEFAULT_PRESET

router = APIRouter(include_in_schema=False)

Texts = Mapping[str, str]


async def form_texts(request: Request) -> Texts:
    """All fields of a form; which there are depends on the settings."""
    return {name: str(value) for name, value in (await request.form()).items()}


TextsDep = Annotated[Texts, Depends(form_texts)]


@router.get("/runs/new")
def new_run(request: Request, _: ResearcherDep, session: SessionDep, origin: str = DEFAULT_PRESET) -> HTMLResponse:
    """The form, filled in from a preset or a run's id."""
    base, name, model = _origin(session, origin)
    return _form(request, session, base, {"origin": origin, "name": name, "base_model": model}, {})


@router.post("/runs/new")
def create_run(request: Request, texts: TextsDep, me: ResearcherDep, session: SessionDep) -> Response:
    """Start the run and go to its page; with mistakes, the form again with each at its field."""
    base, _, _ = _origin(session, texts.get("origin", DEFAULT_PRESET))
    name, model = texts.get("name", ""), texts.get("base_model", "")
    try:
        hparams = changed(base, typed(settings_of(base), texts))
        made = runs.create(session, name=name, base_model=model, hparams=hparams, actor_id=me.id)
    except InvalidSettingsError as error:
        return _form(request, session, base, texts, error.faults)
    except InvalidError as error:
        return _form(request, session, base, texts, {"": error.detail})
    return pages.see_other(f"/runs/{made.id}")


@router.post("/runs/check")
def check(texts: TextsDep, _: ResearcherDep, session: SessionDep) -> dict[str, str]:
    """What is wrong with the fields as they stand, by path; empty if nothing is."""
    base, _name, _model = _origin(session, texts.get("origin", DEFAULT_PRESET))
    try:
        changed(base, typed(settings_of(base), texts))
    except InvalidSettingsError as error:
        return {path: _sentence(what) for path, what in error.faults.items()}
    return {}


def _origin(session: Session, origin: str) -> tuple[RunHParams, str, str]:
    """Settings, a name and a base model to begin with."""
    if origin in PRESETS:
        return planned(origin), "", ""
    try:
        run = runs.get(session, UUID(origin))
    except ValueError as error:
        raise InvalidError(f"Choose a preset or a run to begin with, not {origin!r}.") from error
    return runs.hparams_of(run), f"{run.name} again", run.base_model


def _form(
    request: Request, session: Session, base: RunHParams, texts: Texts, faults: Mapping[str, str]
) -> HTMLResponse:
    settings = settings_of(base)
    fields = {one.path for one in settings}
    return pages.render(
        request,
        "run_new.html",
        status=422 if faults else 200,
        groups=[(key, list(found)) for key, found in groupby(settings, key=lambda one: (one.group, one.title))],
        texts={"origin": DEFAULT_PRESET, "name": "", "base_model": ""} | dict(texts),
        faults={path: _sentence(what) for path, what in faults.items()},
        elsewhere={path: _sentence(what) for path, what in faults.items() if path not in fields},
        presets=list(PRESETS),
        origins=runs.newest_first(session),
        prompt_sets=[one.name for one in prompts.sets(session)],
    )


def _sentence(what: str) -> str:
    return what.removeprefix("Value error, ")
