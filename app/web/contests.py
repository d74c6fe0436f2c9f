"""Pages of blind head-to-heads: those of a run with the form for another, and what people said in one."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response

from app import contests, reports, runs
from app.errors import ConflictError, InvalidError
from app.models import CheckpointKind
from app.web import pages, plots
from app.web.deps import ResearcherDep, SessionDep

router = APIRouter(include_in_schema=False)

WRITERS = (CheckpointKind.POLICY,)
COLUMNS = (
    *("contest", "left", "right", "wins", "losses", "ties", "win_rate", "win_rate_low", "win_rate_high"),
    *("at_equal_length", "against_reference", "kl", "score", "score_low", "score_high"),
)


@router.get("/runs/{run_id}/contests")
def list_contests(request: Request, run_id: UUID, _: ResearcherDep, session: SessionDep) -> HTMLResponse:
    """Results so far as a table, and the form."""
    return _page(request, run_id, session)


@router.post("/runs/{run_id}/contests")
def create_contest(
    request: Request,
    run_id: UUID,
    left: Annotated[str, Form()],
    right: Annotated[str, Form()],
    me: ResearcherDep,
    session: SessionDep,
    prompts: Annotated[int, Form()] = 64,
    per_side: Annotated[int, Form()] = 1,
    labelers: Annotated[int, Form()] = 3,
    seed: Annotated[int, Form()] = 0,
    own_session: Annotated[bool, Form()] = False,
) -> Response:
    """Begin a contest; with a mistake, the page again that says which."""
    asked = {"prompts": prompts, "per_side": per_side, "labelers": labelers, "seed": seed}
    try:
        made = contests.create(
            session, run_id, left=left, right=right, **asked, actor_id=me.id, own_session=own_session
        )
    except (InvalidError, ConflictError) as error:
        return _page(request, run_id, session, problem=error.detail, left=left, right=right)
    return pages.see_other(f"/contests/{made.id}")


@router.get("/contests/{contest_id}")
def contest_page(request: Request, contest_id: UUID, _: ResearcherDep, session: SessionDep) -> HTMLResponse:
    """Win rate, agreement and texts drawn at random."""
    found = contests.get(session, contest_id)
    result = reports.contest_result(session, contest_id)
    return pages.render(request, "contest.html", contest=found, result=result, run=runs.get(session, found.run_id))


@router.get("/runs/{run_id}/contests.csv")
def contests_csv(run_id: UUID, _: ResearcherDep, session: SessionDep) -> Response:
    """All results of a run as a table, with KL and score where a policy met the reference."""
    runs.get(session, run_id)
    results = [reports.contest_result(session, one.id) for one in contests.of_run(session, run_id)]
    curve = {one.contest_id: one for one in reports.over_optimization(session, run_id, results)}
    return pages.csv_file(f"contests-{run_id}.csv", COLUMNS, (_cells(one, curve.get(one.id)) for one in results))


def _cells(result: reports.ContestResult, met: reports.Compared | None) -> tuple[object, ...]:
    rate, score = result.win_rate, met.score if met else None
    return (
        result.id,
        result.left,
        result.right,
        result.wins,
        result.losses,
        result.ties,
        *((rate.mean, rate.low, rate.high) if rate else (None,) * 3),
        result.at_equal_length,
        *((met.name, met.kl) if met else (None,) * 2),
        *((score.mean, score.low, score.high) if score else (None,) * 3),
    )


def _page(
    request: Request, run_id: UUID, session: SessionDep, *, problem: str = "", left: str = "", right: str = "reference"
) -> HTMLResponse:
    policies = reports.checkpoints(session, run_id, kinds=WRITERS)
    newest = f"policy {policies[0].number}" if policies else ""
    results = [reports.contest_result(session, one.id) for one in contests.of_run(session, run_id)]
    return pages.render(
        request,
        "contests.html",
        status=422 if problem else 200,
        run=runs.get(session, run_id),
        results=results,
        compared=plots.compared(reports.over_optimization(session, run_id, results)),
        writers=["reference", *(f"policy {one.number}" for one in policies), "texts", "lead-3"],
        problem=problem,
        left=left or newest,
        right=right,
    )
