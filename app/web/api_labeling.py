"""The API that labelers' browsers and programs use: lease, answer, flag, undo, pull the cord."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response

from app import andon, guidelines, history, labeling, runs
from app.errors import NotFoundError
from app.web.deps import AccountDep, ResearcherDep, SessionDep, SettingsDep
from app.web.desk import SECRETS, DeskDep, DeskRoute, answered
from app.web.schemas import (
    AndonOut,
    Answer,
    AnsweredListOut,
    AnsweredOut,
    Cord,
    Flag,
    GuidelineOut,
    GuidelineText,
    LabelOut,
    LeaseOut,
    LeaseRequest,
    LeasesOut,
    Note,
    UndoneOut,
)

router = APIRouter(prefix="/api/v1", tags=["labeling"])
waited_for = APIRouter(prefix="/api/v1", tags=["labeling"], route_class=DeskRoute)
"""What comes with every label."""

IdempotencyKey = Annotated[
    str,
    Header(min_length=1, max_length=200, description="Made by the client, one per answer: repeating it is harmless."),
]


@waited_for.post("/runs/{run_id}/leases", response_model=LeasesOut, openapi_extra=SECRETS)
def lease(run_id: UUID, wanted: LeaseRequest, desk: DeskDep) -> Response:
    """Comparisons to label: those you hold, renewed, then new ones. Samples stand in the order to show."""
    with desk.open() as (session, me):
        held, progress = labeling.work(
            session, me, run_id, count=wanted.count, lease_seconds=desk.settings.lease_seconds
        )
    return answered(LeasesOut(leases=[LeaseOut.of(one) for one in held], progress=progress))


@router.get("/runs/{run_id}/progress")
def progress(run_id: UUID, me: AccountDep, session: SessionDep) -> labeling.Progress:
    """How much you and the team have done, and why there is nothing to do if there is nothing."""
    return labeling.counts(session, me.id, run_id)


@router.get("/runs/{run_id}/answers")
def list_answers(
    run_id: UUID, me: AccountDep, session: SessionDep, count: Annotated[int, Query(ge=1, le=history.MOST)] = 10
) -> AnsweredListOut:
    """Your newest answers that stand, newest first, with what was shown."""
    runs.get(session, run_id)
    found = history.recent(session, me.id, run_id, count=count)
    return AnsweredListOut(answers=[AnsweredOut.of(one) for one in found])


@router.get("/runs/{run_id}/guideline")
def show_guideline(run_id: UUID, _: AccountDep, session: SessionDep) -> GuidelineOut:
    """The newest guideline, in Markdown."""
    found = guidelines.newest(session, runs.get(session, run_id).id)
    if found is None:
        raise NotFoundError("This run has no guideline.")
    return GuidelineOut.model_validate(found)


@router.post("/runs/{run_id}/guideline", status_code=201)
def publish_guideline(run_id: UUID, body: GuidelineText, me: ResearcherDep, session: SessionDep) -> GuidelineOut:
    """The next version; labelers are asked to read it."""
    return GuidelineOut.model_validate(guidelines.publish(session, run_id, me.id, body.text))


@router.post("/guidelines/{guideline_id}/acknowledgement", status_code=204)
def acknowledge(guideline_id: UUID, me: AccountDep, session: SessionDep) -> None:
    """You have read this version; your labels name it from now on."""
    guidelines.acknowledge(session, guideline_id, me.id)


@waited_for.post("/comparisons/{comparison_id}/labels", response_model=LabelOut, openapi_extra=SECRETS)
def answer(comparison_id: UUID, body: Answer, idempotency_key: IdempotencyKey, desk: DeskDep) -> Response:
    """Answer a comparison. The same Idempotency-Key gets the same answer again and writes nothing."""
    with desk.open() as (session, me):
        recorded = labeling.record(session, me, comparison_id, key=idempotency_key, **dict(body))
    return answered(LabelOut(label=recorded.label_id, revision=recorded.revision))


@router.post("/labels/{label_id}/revisions")
def revise(
    label_id: UUID, body: Answer, idempotency_key: IdempotencyKey, me: AccountDep, session: SessionDep
) -> LabelOut:
    """Change your answer, by a new revision; the label must be your newest answer to its comparison."""
    recorded = labeling.revise(session, me.id, label_id, body.said(), key=idempotency_key)
    return LabelOut(label=recorded.label_id, revision=recorded.revision)


@router.post("/comparisons/{comparison_id}/flag", status_code=204)
def flag(comparison_id: UUID, body: Flag, me: AccountDep, session: SessionDep) -> None:
    """Take a comparison out of the queue for a researcher to see."""
    labeling.flag(session, me.id, comparison_id, body.reason)


@router.delete("/labels/{label_id}")
def undo(label_id: UUID, me: AccountDep, session: SessionDep, settings: SettingsDep) -> UndoneOut:
    """Take your answer back, by a new revision; the comparison returns to you."""
    returned = labeling.undo(session, me.id, label_id, lease_seconds=settings.lease_seconds)
    return UndoneOut(lease=LeaseOut.of(returned))


@router.post("/runs/{run_id}/andon")
def pull(run_id: UUID, body: Cord, me: AccountDep, session: SessionDep) -> AndonOut:
    """Pull the cord: PPO and promotion stop within one update."""
    return AndonOut.of(andon.pull(session, run_id, me.id, body.reason))


@router.delete("/runs/{run_id}/andon")
def release(run_id: UUID, me: ResearcherDep, session: SessionDep, body: Note | None = None) -> AndonOut:
    """Release the cord."""
    return AndonOut.of(andon.release(session, run_id, me.id, body.note if body else ""))
