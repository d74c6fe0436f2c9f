"""The API of blind head-to-heads."""

from uuid import UUID

from fastapi import APIRouter

from app import contests, reports, runs
from app.web.contest_schemas import ContestOut, ContestsOut, NewContest
from app.web.deps import ResearcherDep, SessionDep

router = APIRouter(prefix="/api/v1", tags=["contests"])


@router.post("/runs/{run_id}/contests", status_code=201)
def create_contest(run_id: UUID, body: NewContest, me: ResearcherDep, session: SessionDep) -> ContestOut:
    """Let two writers answer the same test prompts, and ask people blindly whose answer is better."""
    made = contests.create(session, run_id, **body.model_dump(), actor_id=me.id)
    return ContestOut.of(made)


@router.get("/runs/{run_id}/contests")
def list_contests(run_id: UUID, _: ResearcherDep, session: SessionDep) -> ContestsOut:
    """Contests of a run, newest first."""
    runs.get(session, run_id)
    return ContestsOut(contests=[ContestOut.of(one) for one in contests.of_run(session, run_id)])


@router.get("/contests/{contest_id}")
def show_contest(contest_id: UUID, _: ResearcherDep, session: SessionDep) -> reports.ContestResult:
    """What people have said by now."""
    return reports.contest_result(session, contest_id)
