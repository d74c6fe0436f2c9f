"""The way from a committed transaction to the Celery queues: by task name, quickly, best effort."""

import time
from threading import Lock

from celery import Celery

from app import logs
from app.jobs import ADVANCE_RUN, Message

QUIET_SECONDS = 5.0
"""After a failed send the broker is left alone for so long: a label must not wait for a dead broker."""
WAKE_SECONDS = 1.0
"""A run is woken at most this often; the tick does the rest."""

TRANSPORT_OPTIONS = {
    "socket_connect_timeout": 1.0,
    "socket_timeout": 5.0,
    "visibility_timeout": 3600,
    "queue_order_strategy": "priority",  # one worker on several queues empties the first one first
}


class BrokerSender:
    """Sends messages by name; an `app.db.Sender`. Thread-safe."""

    def __init__(self, broker_url: str) -> None:
        self._celery = Celery(broker=broker_url)
        self._celery.conf.broker_transport_options = TRANSPORT_OPTIONS
        self._lock = Lock()
        self._quiet_until = 0.0
        self._woken: dict[str, float] = {}

    def __call__(self, messages: list[Message]) -> None:
        """Send, or raise at once if the broker cannot be reached."""
        for message in messages:
            if self._due(message):
                self._send(message)

    def _due(self, message: Message) -> bool:
        task, _, key = message
        now = time.monotonic()
        with self._lock:
            if now < self._quiet_until:
                return False
            if task == ADVANCE_RUN:
                if now - self._woken.get(key, float("-inf")) < WAKE_SECONDS:
                    return False
                self._woken[key] = now
        return True

    def _send(self, message: Message) -> None:
        task, queue, key = message
        try:
            # The worker goes on under the id of the request that asked.
            headers = {"request_id": asked} if (asked := logs.request_id()) else None
            self._celery.send_task(task, args=[key], queue=queue, headers=headers, retry=False, ignore_result=True)
        except Exception:
            with self._lock:
                self._quiet_until = time.monotonic() + QUIET_SECONDS
            raise
