"""Pages of labelers: the labeling page, the guideline, practice, their own work. Answers go through the API."""

import math
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy.orm import Session

from app import comparisons, contest_sessions, contests, gold, guidelines, history, practice, progress, runs
from app.answers import asked_of
from app.kinds import AXES, MOST_RATING, MOST_STRENGTH
from app.models import Account, Guideline, Run
from app.web import markdown, pages
from app.web.deps import AccountDep, SessionDep

router = APIRouter(include_in_schema=False)

LONG_PROMPT = 128
"""Tokens; longer prompts stand beside the samples instead of above them."""
CHARACTERS_PER_TOKEN, CHARACTERS_PER_LINE = 4.6, 52
"""To keep room for a sample before it is there; English, at the cards' width."""


@router.get("/label")
def choose_run(request: Request, _: AccountDep, session: SessionDep) -> Response:
    """On to the run that wants labels."""
    run_id = progress.run_to_label(session)
    if run_id is None:
        return pages.render(request, "label_none.html")
    return pages.see_other(f"/runs/{run_id}/label")


@router.get("/runs/{run_id}/label")
def label(request: Request, run_id: UUID, me: AccountDep, session: SessionDep) -> Response:
    """The page for one run; first its guideline and its practice set, where they are due."""
    return _desk(request, runs.get(session, run_id), f"/runs/{run_id}", me, session)


@router.get("/contests/{contest_id}/label")
def label_contest(request: Request, contest_id: UUID, me: AccountDep, session: SessionDep) -> Response:
    """The same for a head-to-head that has a session of its own; others stand in their run's queue."""
    contest = contests.get(session, contest_id)
    if not contest.own_session:
        return pages.see_other(f"/runs/{contest.run_id}/label")
    return _desk(request, runs.get(session, contest.run_id), f"/contests/{contest_id}", me, session)


def _desk(request: Request, run: Run, place: str, me: Account, session: Session) -> Response:
    """The labeling page; `place` has the leases."""
    run_id = run.id
    guideline = guidelines.newest(session, run_id)
    if guideline is not None and not guidelines.acknowledged(session, guideline.id, me.id):
        return pages.see_other(f"/runs/{run_id}/guideline")
    if practice.is_due(session, run, me.id):
        return pages.see_other(f"/runs/{run_id}/practice")
    task = runs.hparams_of(run).task
    return pages.render(
        request,
        "label.html",
        run=run,
        place=place,
        sessions=contest_sessions.waiting(session, me.id, run_id) if place.startswith("/runs/") else [],
        task=task,
        asked=asked_of(run),
        axes=AXES,
        most_rating=MOST_RATING,
        most_strength=MOST_STRENGTH,
        guideline=_shown(guideline),
        prefetch=comparisons.PREFETCH,
        beside=task.query_tokens > LONG_PROMPT,
        lines=math.ceil(task.response_tokens * CHARACTERS_PER_TOKEN / CHARACTERS_PER_LINE),
    )


@router.get("/runs/{run_id}/guideline")
def read(request: Request, run_id: UUID, me: AccountDep, session: SessionDep) -> HTMLResponse:
    """The newest guideline, to read and acknowledge."""
    run = runs.get(session, run_id)
    guideline = guidelines.newest(session, run_id)
    known = guideline is None or guidelines.acknowledged(session, guideline.id, me.id)
    return pages.render(request, "label_guideline.html", run=run, guideline=_shown(guideline), known=known)


@router.post("/runs/{run_id}/guideline/{guideline_id}/read")
def acknowledge(run_id: UUID, guideline_id: UUID, me: AccountDep, session: SessionDep) -> RedirectResponse:
    """I have read it."""
    guidelines.acknowledge(session, guideline_id, me.id)
    return pages.see_other(f"/runs/{run_id}/label")


@router.get("/runs/{run_id}/practice")
def practise(request: Request, run_id: UUID, me: AccountDep, session: SessionDep) -> HTMLResponse:
    """The next item, or that all is done."""
    run = runs.get(session, run_id)
    return _practice_page(request, run, practice.next_question(session, run, me.id), session, me.id)


@router.post("/runs/{run_id}/practice/{item_id}")
def answer_practice(
    request: Request,
    run_id: UUID,
    item_id: UUID,
    choice: Annotated[int, Form()],
    attempt: Annotated[int, Form()],
    me: AccountDep,
    session: SessionDep,
) -> HTMLResponse:
    """Whether it was right, and why."""
    item = practice.answer(session, item_id, me.id, attempt=attempt, choice=choice)
    order = practice.order_of(item, me.id, attempt)
    question = practice.Question(item=item, attempt=attempt, order=order)
    return _practice_page(request, runs.get(session, run_id), question, session, me.id, choice=choice)


@router.get("/runs/{run_id}/me")
def my_work(request: Request, run_id: UUID, me: AccountDep, session: SessionDep) -> HTMLResponse:
    """Pace, last answers, and what became of the answers."""
    return pages.render(
        request,
        "label_me.html",
        run=runs.get(session, run_id),
        counts=progress.counts(session, me.id, run_id),
        days=history.pace(session, me.id, run_id),
        effects=history.effects(session, me.id, run_id),
        gold=gold.agreement(session, me.id, run_id),
    )


def _practice_page(
    request: Request,
    run: Run,
    question: practice.Question | None,
    session: SessionDep,
    account_id: UUID,
    *,
    choice: int | None = None,
) -> HTMLResponse:
    return pages.render(
        request,
        "label_practice.html",
        run=run,
        task=runs.hparams_of(run).task,
        question=question,
        choice=choice,
        standing=practice.standing(session, run, account_id),
    )


def _shown(guideline: Guideline | None) -> dict[str, object] | None:
    if guideline is None:
        return None
    return {
        "id": guideline.id,
        "version": guideline.version,
        "html": markdown.render(guideline.text),
        "created_at": guideline.created_at,
    }
