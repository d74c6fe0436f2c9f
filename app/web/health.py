"""Whether the site lives, whether it can do its work, and figures for Prometheus."""

import shutil
from functools import cache
from typing import Any

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from kombu import Connection
from prometheus_client import CONTENT_TYPE_LATEST
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import migrating, reports
from app.broker import TRANSPORT_OPTIONS
from app.db import session_scope
from app.models import Job, JobState
from app.settings import Settings
from app.web.deps import PUBLIC, SessionFactoryDep, SettingsDep

router = APIRouter(include_in_schema=False, dependencies=[PUBLIC])

LEAST_DISK_BYTES = 200 * 1024 * 1024


@router.get("/health/live")
def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/health/ready")
def ready(factory: SessionFactoryDep, settings: SettingsDep) -> JSONResponse:
    """503 unless the database answers with the newest schema: labeling needs nothing else.

    A dead broker, missing workers and a full disk make it `degraded`, with 200: people may go on labeling.
    """
    parts: dict[str, Any] = {"broker": _broker(settings), "disk": _disk(settings)}
    try:
        with session_scope(factory) as session:
            parts |= {"database": "ok", "migrations": _migrations(session)}
            if parts["migrations"] == "ok":
                parts |= {"jobs": _jobs(session), "workers": _workers(session)}
    except SQLAlchemyError as error:
        parts |= {"database": f"unreachable: {type(error).__name__}", "migrations": "unknown"}
    status = _status(parts)
    return JSONResponse({"status": status, **parts}, 503 if status == "unavailable" else 200)


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Prometheus text format."""
    return Response(request.app.state.meters.exposition(), media_type=CONTENT_TYPE_LATEST)


def _status(parts: dict[str, Any]) -> str:
    if not parts["database"] == parts["migrations"] == "ok":
        return "unavailable"
    return "ok" if parts["broker"] == parts["disk"] == parts["workers"] == "ok" else "degraded"


@cache
def _newest_schema() -> str | None:
    return ScriptDirectory.from_config(migrating.config()).get_current_head()


def _migrations(session: Session) -> str:
    found = MigrationContext.configure(session.connection()).get_current_revision()
    newest = _newest_schema()
    return "ok" if found == newest else f"at {found}, need {newest}: run `prefloop migrate`"


def _jobs(session: Session) -> dict[str, Any]:
    age = func.extract("epoch", func.clock_timestamp() - func.max(Job.heartbeat_at))
    running = select(func.count()).where(Job.state == JobState.RUNNING)
    queued = select(func.count()).where(Job.state == JobState.QUEUED)
    seconds = session.scalar(select(age))
    return {
        "running": session.scalar(running),
        "queued": session.scalar(queued),
        "seconds_since_heartbeat": None if seconds is None else round(float(seconds), 1),
    }


def _workers(session: Session) -> str:
    found = reports.workers(session)
    unserved = reports.unserved(found)
    if not unserved:
        return "ok"
    return f"none serves {', '.join(unserved)}; {sum(worker.lives for worker in found)} alive"


def _broker(settings: Settings) -> str:
    if settings.broker_url is None:
        return "none"
    try:
        with Connection(settings.broker_url, transport_options=TRANSPORT_OPTIONS) as connection:
            connection.default_channel.client.ping()
    except Exception as error:  # whatever the transport raises: it is told, not fatal
        return f"unreachable: {type(error).__name__}"
    return "ok"


def _disk(settings: Settings) -> str:
    home = settings.home if settings.home.exists() else settings.home.anchor
    free = shutil.disk_usage(home).free
    return "ok" if free >= LEAST_DISK_BYTES else f"only {free // 2**20} MiB free"
