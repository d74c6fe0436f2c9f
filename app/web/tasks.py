"""Pages of researchers about what labelers are told: guideline, practice set, gold comparisons."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from app import gold, guidelines, practice, runs
from app.answers import asked_of
from app.web import markdown, pages
from app.web.deps import ResearcherDep, SessionDep

router = APIRouter(include_in_schema=False)


@router.get("/runs/{run_id}/guideline/edit")
def edit_guideline(request: Request, run_id: UUID, _: ResearcherDep, session: SessionDep) -> HTMLResponse:
    """The newest version in a field, the earlier ones below, each with how many have read it."""
    return pages.render(
        request,
        "task_guideline.html",
        run=runs.get(session, run_id),
        versions=guidelines.versions(session, run_id),
        readers=guidelines.readers(session, run_id),
        most_characters=guidelines.MOST_CHARACTERS,
        markdown=markdown.render,
    )


@router.post("/runs/{run_id}/guideline")
def publish_guideline(
    run_id: UUID, text: Annotated[str, Form()], me: ResearcherDep, session: SessionDep
) -> RedirectResponse:
    """The next version."""
    guidelines.publish(session, run_id, me.id, text.replace("\r\n", "\n"))
    return pages.see_other(f"/runs/{run_id}/guideline/edit")


@router.get("/runs/{run_id}/practice/edit")
def edit_practice(request: Request, run_id: UUID, _: ResearcherDep, session: SessionDep) -> HTMLResponse:
    """The practice set, and a form for one more item."""
    run = runs.get(session, run_id)
    return pages.render(
        request,
        "task_practice.html",
        run=run,
        asked=asked_of(run),
        samples=runs.hparams_of(run).task.samples_per_comparison,
        items=practice.items(session, run_id),
    )


@router.post("/runs/{run_id}/practice-items")
def add_practice(
    run_id: UUID,
    prompt: Annotated[str, Form()],
    sample: Annotated[list[str], Form()],
    best: Annotated[int, Form()],
    explanation: Annotated[str, Form()],
    me: ResearcherDep,
    session: SessionDep,
) -> RedirectResponse:
    """One more item."""
    material = practice.Material(prompt=prompt, samples=tuple(sample), best=best, explanation=explanation)
    practice.add(session, run_id, me.id, material)
    return pages.see_other(f"/runs/{run_id}/practice/edit")


@router.post("/practice-items/{item_id}/remove")
def remove_practice(item_id: UUID, me: ResearcherDep, session: SessionDep) -> RedirectResponse:
    """Take an item out."""
    run_id = practice.remove(session, item_id, me.id)
    return pages.see_other(f"/runs/{run_id}/practice/edit")


@router.get("/runs/{run_id}/gold")
def show_gold(request: Request, run_id: UUID, _: ResearcherDep, session: SessionDep) -> HTMLResponse:
    """Gold comparisons, and answered ones that could become gold."""
    return pages.render(
        request,
        "task_gold.html",
        run=runs.get(session, run_id),
        authored=gold.authored(session, run_id),
        candidates=gold.candidates(session, run_id),
    )


@router.post("/runs/{run_id}/gold")
def author_gold(
    run_id: UUID,
    comparison: Annotated[UUID, Form()],
    sample: Annotated[UUID, Form()],
    explanation: Annotated[str, Form()],
    me: ResearcherDep,
    session: SessionDep,
) -> RedirectResponse:
    """Copy a comparison to gold."""
    gold.author(session, run_id, comparison, sample, explanation, me.id)
    return pages.see_other(f"/runs/{run_id}/gold")


@router.post("/gold/{comparison_id}/retire")
def retire_gold(comparison_id: UUID, me: ResearcherDep, session: SessionDep) -> RedirectResponse:
    """Ask it no more."""
    return pages.see_other(f"/runs/{gold.retire(session, comparison_id, me.id)}/gold")
