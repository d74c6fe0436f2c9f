"""How much each labeler did, and how much they may still do."""

import datetime as dt
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.hot import Standing
from app.hparams import CollectionHParams
from app.models import Label, Tally


class Done(NamedTuple):
    """Answers of one labeler in one run that stand."""

    all: int
    today: int
    """Since midnight UTC."""

    @classmethod
    def of(cls, standing: Standing) -> "Done":
        """From how a labeler stands in a run."""
        return cls(standing.always, standing.today)


def add(session: Session, run_id: UUID, label: Label, change: int) -> None:
    """Count an answer that is in the database (1), or no longer (-1) because it is undone."""
    day = label.created_at.astimezone(dt.UTC).date()
    row = insert(Tally).values(run_id=run_id, labeler_id=label.labeler_id, day=day, answers=change)
    key = (Tally.run_id, Tally.labeler_id, Tally.day)
    session.execute(row.on_conflict_do_update(index_elements=key, set_={"answers": Tally.answers + change}))


def left(collection: CollectionHParams, so_far: Done) -> int | None:
    """How many more answers a labeler may give; None: any number."""
    bounds = ((collection.labels_per_day, so_far.today), (collection.labels_per_labeler, so_far.all))
    room = [bound - count for bound, count in bounds if bound is not None]
    return max(0, min(room)) if room else None


def why_none_left(collection: CollectionHParams, so_far: Done) -> str:
    """A sentence for a labeler who may give no more answers."""
    whole = collection.labels_per_labeler
    if whole is not None and so_far.all >= whole:
        return f"You have given all {whole} answers that this run asks of one person. Thank you."
    return f"You have given your {collection.labels_per_day} answers of today. More tomorrow (UTC). Thank you."
