"""The API of data: uploads, imports, exports, and the files they leave."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from app import prompts, transfers, uploads
from app.errors import InvalidError
from app.orders import ExportOrder, LabelOrder, ModelOrder, PromptOrder
from app.web.deps import ResearcherDep, SessionDep, SettingsDep
from app.web.schemas import JobRef

router = APIRouter(prefix="/api/v1", tags=["data"])

MOST_UPLOAD_BYTES = 20 * 2**30
FileName = Annotated[str, Query(min_length=1, max_length=200, description="Such as `prompts.jsonl`.")]


class UploadOut(BaseModel):
    """A file that is here now."""

    source: str
    """Names it in an import."""
    bytes: int


class PromptSetsOut(BaseModel):
    """The prompt sets, by name."""

    prompt_sets: tuple[prompts.PromptSet, ...]


@router.post(
    "/uploads",
    status_code=201,
    max_body_size=MOST_UPLOAD_BYTES,
    openapi_extra={"requestBody": {"content": {"application/octet-stream": {}}}},
)
async def upload(request: Request, _: ResearcherDep, settings: SettingsDep, name: FileName) -> UploadOut:
    """Bring a file: its bytes are the body. Name what is answered as `source` of an import."""
    size = 0
    with uploads.new_file(settings.home, name) as (source, file):
        async for chunk in request.stream():
            size += len(chunk)
            if size > MOST_UPLOAD_BYTES:
                raise InvalidError(f"The file exceeds {MOST_UPLOAD_BYTES >> 30} GiB: bring it in parts.")
            await run_in_threadpool(file.write, chunk)
    return UploadOut(source=source, bytes=size)


@router.get("/prompt-sets")
def list_prompt_sets(_: ResearcherDep, session: SessionDep) -> PromptSetsOut:
    """What has been imported, with the sizes of the splits."""
    return PromptSetsOut(prompt_sets=prompts.sets(session))


@router.post("/prompts/imports", status_code=202)
def import_prompts(order: PromptOrder, me: ResearcherDep, session: SessionDep, settings: SettingsDep) -> JobRef:
    """Import prompts as a job: `GET /jobs/{job}` tells how far it is and what it did."""
    transfers.require_reachable(settings.home, order.source)
    return JobRef(job=transfers.import_prompts(session, order, account_id=me.id).id)


@router.post("/runs/{run_id}/labels/imports", status_code=202)
def import_labels(
    run_id: UUID, order: LabelOrder, me: ResearcherDep, session: SessionDep, settings: SettingsDep
) -> JobRef:
    """Import labels into a run as a job; its reward model learns from them as from those given here."""
    transfers.require_reachable(settings.home, order.source)
    return JobRef(job=transfers.import_labels(session, run_id, order, account_id=me.id).id)


@router.post("/runs/{run_id}/labels/exports", status_code=202)
def export_label_files(run_id: UUID, order: ExportOrder, me: ResearcherDep, session: SessionDep) -> JobRef:
    """Export a run's labels as a job; its result names the files, a manifest with their sha256 among them."""
    return JobRef(job=transfers.export_labels(session, run_id, order, account_id=me.id).id)


@router.post("/models/exports", status_code=202)
def export_model(order: ModelOrder, me: ResearcherDep, session: SessionDep) -> JobRef:
    """Write a policy or reward model as a Hugging Face folder with its card, and push it if `to` says where."""
    return JobRef(job=transfers.export_model(session, order, account_id=me.id).id)


@router.get("/jobs/{job_id}/files/{name:path}", response_class=FileResponse)
def job_file(job_id: UUID, name: str, _: ResearcherDep, session: SessionDep, settings: SettingsDep) -> FileResponse:
    """One file of an export."""
    return FileResponse(transfers.file_of(session, settings.home, job_id, name), filename=name)
