"""Pages of researchers: the list of runs, a new run, a new labeler, pause and resume."""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from app import andon, people, runs, welcome
from app.hparams import PRESETS, planned
from app.models import Role
from app.web import pages
from app.web.deps import ResearcherDep, SessionDep, SettingsDep

router = APIRouter(include_in_schema=False)


class Act(StrEnum):
    """What a researcher may do to a run."""

    PAUSE = "pause"
    RESUME = "resume"
    FINISH = "finish"
    STOP = "stop"


ACTS = {Act.PAUSE: runs.pause, Act.RESUME: runs.resume, Act.FINISH: runs.finish, Act.STOP: runs.stop}


@router.get("/runs")
def list_runs(request: Request, _: ResearcherDep, session: SessionDep) -> HTMLResponse:
    """All runs, and the forms for a new run and a new labeler."""
    every, stopped = runs.newest_first(session), andon.stopped(session)
    return pages.render(request, "runs.html", runs=every, stopped=stopped, presets=sorted(PRESETS))


@router.post("/runs")
def create_run(
    name: Annotated[str, Form()],
    base_model: Annotated[str, Form()],
    preset: Annotated[str, Form()],
    me: ResearcherDep,
    session: SessionDep,
) -> RedirectResponse:
    """Start a run and go to its page."""
    made = runs.create(session, name=name, base_model=base_model, hparams=planned(preset), actor_id=me.id)
    return pages.see_other(f"/runs/{made.id}")


@router.post("/labelers")
def create_labeler(
    request: Request, name: Annotated[str, Form()], me: ResearcherDep, session: SessionDep, settings: SettingsDep
) -> HTMLResponse:
    """A new labeler; shows the link once, for only its hash is kept."""
    made = people.add(session, me, name, Role.LABELER)
    return pages.render(
        request,
        "secret.html",
        title=f"{made.name} can sign in",
        detail=f"Send them this link. It works once, within {settings.link_days} days, and is not shown again.",
        label="Sign-in link",
        secret=welcome.fresh_link(session, settings, made.id),
        back="/runs",
    )


@router.post("/runs/{run_id}/{act}")
def act(
    run_id: UUID, act: Act, me: ResearcherDep, session: SessionDep, note: Annotated[str, Form()] = ""
) -> RedirectResponse:
    """Pause, resume or stop, and go to the run's page."""
    ACTS[act](session, run_id, me.id, note)
    return pages.see_other(f"/runs/{run_id}")
