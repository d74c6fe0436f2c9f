"""Samples to look through: the page, its JSON, and the jobs that find out what is not known of them yet."""

from typing import Annotated
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app import generation, reports, runs, samples
from app.kinds import Split
from app.models import JobState
from app.reports import Labeled, Order, SamplePage, SampleQuery
from app.web import pages
from app.web.deps import ResearcherDep, SessionDep, require_researcher
from app.web.schemas import Body, JobRef

router = APIRouter()
page = APIRouter(include_in_schema=False, dependencies=[Depends(require_researcher)])
api = APIRouter(prefix="/api/v1", tags=["samples"])

KL_STEPS = (0.25, 0.75, 1.5, 3.0)
"""Nats beyond which a token is coloured more strongly."""

Blank = BeforeValidator(lambda value: None if value == "" else value)
"""A field of a form that was left empty."""
Nats = Annotated[float | None, Field(allow_inf_nan=False), Blank]


class Asked(BaseModel):
    """Conditions of `app.reports.SampleQuery`, as a form or a client sends them."""

    model_config = ConfigDict(extra="ignore")

    left: Annotated[UUID | None, Blank] = None
    right: Annotated[UUID | None, Blank] = None
    words: Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")] = ""
    split: Annotated[Split | None, Blank] = None
    valid: Annotated[bool | None, Blank] = None
    labeled: Labeled = Labeled.ANY
    score_from: Nats = None
    score_to: Nats = None
    kl_from: Nats = None
    kl_to: Nats = None
    order: Order = Order.NEWEST
    page: Annotated[int, Field(ge=1, le=10_000)] = 1

    def query(self) -> SampleQuery:
        """As the report takes it."""
        return SampleQuery(**self.model_dump())


class SamplesToRead(Body):
    """Samples whose KL and score are wanted."""

    samples: Annotated[list[UUID], Field(min_length=1, max_length=samples.MOST_READ)]


@page.get("/runs/{run_id}/samples")
def browse_page(
    request: Request, run_id: UUID, session: SessionDep, asked: Annotated[Asked, Query()], job: UUID | None = None
) -> HTMLResponse:
    """What was found, and the form that looks for something else."""
    run = runs.get(session, run_id)
    writers = reports.writers(session, run_id)
    found = reports.browse(session, run, asked.query())
    waited_for = generation.job(session, job) if job else None
    return pages.render(
        request,
        "samples.html",
        run=run,
        asked=asked,
        writers=writers,
        chosen=[(id_, name) for one in dict.fromkeys((asked.left, asked.right)) for id_, name in writers if id_ == one],
        found=found,
        splits=[(one.value, one.value) for one in Split],
        job=waited_for,
        busy=waited_for is not None and waited_for.state in (JobState.QUEUED, JobState.RUNNING),
        shade=shade,
        here=_without_job(request.url.query),
        to_page=lambda number: f"?{_without_job(request.url.query, page=number)}",
    )


@page.post("/runs/{run_id}/samples/read")
def read_there(
    run_id: UUID, session: SessionDep, sample: Annotated[list[UUID], Form()], here: Annotated[str, Form()] = ""
) -> RedirectResponse:
    """Measure what the page shows, and back to it."""
    return _back(run_id, here, samples.read(session, run_id, sample).id)


@page.post("/runs/{run_id}/samples/write")
def write_there(
    run_id: UUID, session: SessionDep, policy: Annotated[UUID, Form()], here: Annotated[str, Form()] = ""
) -> RedirectResponse:
    """Let a policy continue the run's fixed test prompts, and back to the page."""
    return _back(run_id, here, samples.write(session, run_id, policy).id)


@api.get("/runs/{run_id}/samples")
def browse(run_id: UUID, _: ResearcherDep, session: SessionDep, asked: Annotated[Asked, Query()]) -> SamplePage:
    """Samples of a run, searched and filtered, a page of prompts at a time; two writers stand side by side."""
    return reports.browse(session, runs.get(session, run_id), asked.query())


@api.post("/runs/{run_id}/samples/readings", status_code=202)
def read(run_id: UUID, body: SamplesToRead, _: ResearcherDep, session: SessionDep) -> JobRef:
    """Find the KL of each token of samples, and their scores by the newest reward model."""
    return JobRef(job=samples.read(session, run_id, body.samples).id)


def shade(kl: float) -> str:
    """The class of a token: `more` where the policy finds it likelier than the reference, `less` where not."""
    strength = sum(abs(kl) >= step for step in KL_STEPS)
    return f"kl {'more' if kl > 0 else 'less'}-{strength}" if strength else "kl"


def _back(run_id: UUID, here: str, job_id: UUID) -> RedirectResponse:
    return pages.see_other(f"/runs/{run_id}/samples?{_without_job(here, job=job_id)}")


def _without_job(query: str, **instead: object) -> str:
    kept = [(name, value) for name, value in parse_qsl(query) if name != "job" and name not in instead]
    return urlencode([*kept, *((name, str(value)) for name, value in instead.items())])


router.include_router(page)
router.include_router(api)
