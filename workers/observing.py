"""What every worker process and the beat do to be seen: logs as the settings say, figures, ids of requests."""

from typing import Any

import structlog
from celery import Task, signals
from prometheus_client import start_http_server
from structlog.contextvars import bind_contextvars, clear_contextvars

from app import logs
from app.settings import Settings
from workers.meters import TICKS_SENT

log = structlog.get_logger()


def connect(settings: Settings) -> None:
    """Do so from Celery's signals on. Nothing happens before a worker or the beat starts."""

    def set_up_logging(**_: object) -> None:
        logs.configure(settings.log_level, settings.log_format)

    def answer_prometheus(**_: object) -> None:
        if settings.metrics_port is not None:
            start_http_server(settings.metrics_port, settings.host)
            log.info("metrics_served", port=settings.metrics_port)

    signals.setup_logging.connect(set_up_logging, weak=False)
    signals.celeryd_after_setup.connect(answer_prometheus, weak=False)
    signals.beat_init.connect(answer_prometheus, weak=False)
    signals.after_task_publish.connect(_count_sent)
    signals.task_prerun.connect(_take_request_id)
    signals.task_postrun.connect(_forget_request_id)


def _count_sent(sender: str | None = None, **_: object) -> None:
    TICKS_SENT.labels(sender or "unknown").inc()


def _take_request_id(task: Task, **_: Any) -> None:
    clear_contextvars()
    request_id = (task.request.headers or {}).get("request_id")
    if request_id is not None:
        bind_contextvars(request_id=request_id)


def _forget_request_id(**_: object) -> None:
    clear_contextvars()
