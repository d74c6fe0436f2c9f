"""The API of blind head-to-heads."""

from dataclasses import replace
from uuid import UUID

from fastapi import APIRouter

from app import contest_sessions, contests, practice, reports, runs
from app.progress import Progress
from app.web.contest_schemas import ContestOut, ContestsOut, NewContest
from app.web.deps import AccountDep, ResearcherDep, SessionDep, SettingsDep
from app.web.schemas import LeaseOut, LeaseRequest, LeasesOut

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


@router.post("/contests/{contest_id}/leases")
def lease_of_contest(
    contest_id: UUID, wanted: LeaseRequest, me: AccountDep, session: SessionDep, settings: SettingsDep
) -> LeasesOut:
    """Comparisons of a head-to-head with a session of its own; they are answered as all others are."""
    run = runs.get(session, contests.get(session, contest_id).run_id)
    if practice.is_due(session, run, me.id):
        waits = replace(contest_sessions.counts(session, me.id, contest_id), waiting_for=practice.WHY)
        return LeasesOut(leases=[], progress=waits)
    held = contest_sessions.lease(session, me.id, contest_id, count=wanted.count, lease_seconds=settings.lease_seconds)
    progress = contest_sessions.counts(session, me.id, contest_id, has_work=bool(held))
    return LeasesOut(leases=[LeaseOut.of(one) for one in held], progress=progress)


@router.get("/contests/{contest_id}/progress")
def progress_of_contest(contest_id: UUID, me: AccountDep, session: SessionDep) -> Progress:
    """How much you and everybody have answered of a session, and why there is nothing to do if there is nothing."""
    return contest_sessions.counts(session, me.id, contest_id)
