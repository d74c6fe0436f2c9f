"""The Celery instance: queues and delivery policy. It holds no tasks: `workers.control` and `workers.tasks` do.

Celery carries job ids; the job table is the truth. Messages are acknowledged late and one at a time, so that a worker
in a long job keeps none back from the others, and a doubled delivery finds the job claimed.
"""

import time
from datetime import UTC, datetime

from celery import Celery
from celery.schedules import schedule
from kombu import Queue as KombuQueue

from app.broker import TRANSPORT_OPTIONS
from app.jobs import ASSESS, TICK, Queue
from app.settings import Settings
from workers import observing

TICK_SECONDS = 1.0
ASSESS_SECONDS = 60.0
PERIODS = {TICK: TICK_SECONDS, ASSESS: ASSESS_SECONDS}
"""What comes by itself. Its messages do not expire: that would be told by the clock of another machine."""


def steady_now() -> datetime:
    """A clock that nobody sets: beat would wait for hours after the machine's is put back."""
    return datetime.fromtimestamp(time.monotonic(), UTC)


def make_celery(settings: Settings) -> Celery:
    """A Celery app for the broker of `settings`; a missing URL is an error only when something is sent."""
    made = Celery("prefloop", broker=settings.broker_url, include=[])
    made.conf.update(
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=TRANSPORT_OPTIONS,
        task_acks_late=True,
        task_ignore_result=True,
        task_default_queue=Queue.CONTROL,
        task_queues=[KombuQueue(queue) for queue in Queue],
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        beat_schedule={
            task: {"task": task, "schedule": schedule(seconds, nowfun=steady_now)} for task, seconds in PERIODS.items()
        },
        beat_max_loop_interval=TICK_SECONDS,
    )
    return made


_settings = Settings()
celery = make_celery(_settings)
observing.connect(_settings)
