"""Data in and out as jobs: what each reads, what it writes, how it goes on after a kill.

Of the two rooms that see both rows and tables; unlike `workers.data` it needs no torch unless a tokenizer is wanted,
which the caller then brings.
"""

from collections.abc import Callable

from app.kinds import JobKind
from workers.transfers import labels_out, prompts_in
from workers.transfers.errand import Errand

__all__ = ["HANDLERS", "Errand"]

HANDLERS: dict[JobKind, Callable[[Errand], None]] = {
    JobKind.IMPORT_PROMPTS: prompts_in.import_prompts,
    JobKind.EXPORT_LABELS: labels_out.export_labels,
}
"""Jobs of the control queue."""
