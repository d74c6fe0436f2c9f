"""Keeps a terminal for progress bars: other programs' bars are off, and our warnings appear above ours."""

import logging
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog
from huggingface_hub.utils.tqdm import disable_progress_bars
from transformers.utils import logging as transformers_logging


def no_bars() -> None:
    """From now on no library draws a progress bar: a log is no terminal."""
    disable_progress_bars()
    transformers_logging.disable_progress_bar()


def warn_through(said: Callable[[str], None]) -> None:
    """From now on only warnings of this process are heard, each as one line through `said`."""
    no_bars()
    transformers_logging.set_verbosity_error()

    def say(_: object, method: str, event: MutableMapping[str, Any]) -> str:
        facts = ", ".join(f"{name}={value!r}" for name, value in event.items() if name not in ("event", "level"))
        said(f"{method}: {event['event']}" + (f" ({facts})" if facts else ""))
        raise structlog.DropEvent

    structlog.configure(processors=[say], wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
