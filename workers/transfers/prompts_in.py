"""Prompts in: check all rows, then import them in small transactions, each of which notes how far it came.

Killed at any row, it goes on behind the last row that was committed. Without `keep_good` one bad row imports nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from pydantic import BaseModel
from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from app import prompts
from app.errors import InvalidError
from app.orders import PromptOrder
from app.texts import digest_of, split_of
from workers import fencing
from workers.prompt_rows import Fault, NewPrompt, PromptSource, require_columns
from workers.transfers.errand import Errand

Cutter = Callable[[str], str | None]
"""The prompt that a longer text gives; None if it gives none."""
CHUNK = 500
SHOWN_FAULTS = 20
"""Faults that are kept word for word; of the others the number."""


class Tally(BaseModel):
    """How far an import is, and what it did. Kept on the job's row."""

    checked: bool = False
    """All rows have been read once; what is bad is known."""
    rows: int = 0
    """Rows that gave a text."""
    bad: int = 0
    faults: list[str] = []
    """The first of the bad rows: where, and why."""
    done: int = 0
    """Of `rows`, how many are behind us."""
    added: int = 0
    known: int = 0
    """Left out: the set has their normalised text already, or they stand twice in the source."""
    uncut: int = 0
    """Left out: the task's edges cut no prompt from them."""
    splits: dict[str, int] = {}
    """Added, by split."""


def import_prompts(errand: Errand, cut: Cutter | None = None, *, seconds: float | None = None) -> None:
    """Do an import job.

    Args:
        cut: for an order that cuts prompts from longer texts.
        seconds: leave after so long, for the next attempt to go on; None: stay until all is done.
    Raises: InvalidError if the source cannot be read, or has bad rows and they were not to be left out.
    """
    order = PromptOrder.model_validate(errand.claim.args["order"])
    source = PromptSource.of(order, place=errand.place(order.source))
    tally = Tally.model_validate(errand.claim.progress)
    if not tally.checked:
        tally = _check(errand, source)
        _refuse_bad(tally, order)
    if order.dry_run:
        _count(errand, order, source, tally, cut)
    elif not _import(errand, order, source, tally, cut, errand.deadline(seconds)):
        return
    with errand.transaction() as session:
        fencing.finish(session, errand.claim, tally.model_dump() | {"dry_run": order.dry_run})


def _check(errand: Errand, source: PromptSource) -> Tally:
    """Read every row once."""
    require_columns(source)
    tally = Tally()
    for number, one in enumerate(source.prompts(), start=1):
        if isinstance(one, Fault):
            tally.bad += 1
            tally.faults += [str(one)] if tally.bad <= SHOWN_FAULTS else []
        else:
            tally.rows += 1
        if number % (20 * CHUNK) == 0:
            _note(errand, tally)
    tally.checked = True
    _note(errand, tally)
    return tally


def _refuse_bad(tally: Tally, order: PromptOrder) -> None:
    if tally.bad and not (order.keep_good or order.dry_run):
        more = f" and {tally.bad - len(tally.faults):,} more" if tally.bad > len(tally.faults) else ""
        raise InvalidError(
            f"{tally.bad:,} of {tally.bad + tally.rows:,} rows are bad, so nothing was imported. "
            f"{'; '.join(tally.faults)}{more}. Mend them, or ask to keep the good rows."
        )
    if not tally.rows:
        raise InvalidError("There is no row with a text in it.")


def _import(
    errand: Errand, order: PromptOrder, source: PromptSource, tally: Tally, cut: Cutter | None, late: Callable[[], bool]
) -> bool:
    """False if it left before the end."""
    for chunk in _chunks(_behind(source, tally.done)):
        if errand.should_stop() or late():
            with errand.transaction() as session:
                fencing.give_back(session, errand.claim)
            return False
        rows = _rows(order, chunk, tally, cut)
        with errand.transaction() as session:
            added = prompts.insert(session, rows)
            _counted(tally, len(chunk), added)
            errand.note(session, tally.model_dump())
    return True


def _count(errand: Errand, order: PromptOrder, source: PromptSource, tally: Tally, cut: Cutter | None) -> None:
    """What an import would do, by the same rules, in a table that is gone when this ends."""
    with errand.transaction() as session:
        session.execute(sql("create temporary table counted (digest text primary key) on commit drop"))
        for chunk in _chunks(_behind(source, 0)):
            rows = _rows(order, chunk, tally, cut)
            _counted(tally, len(chunk), _unseen(session, order.prompt_set, rows))


def _unseen(session: Session, prompt_set: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    digests = [row["digest"] for row in rows]
    new = session.scalars(
        sql(
            "insert into counted select digest from unnest(cast(:digests as text[])) as given (digest) "
            "where not exists (select from prompt where prompt_set = :prompt_set and prompt.digest = given.digest) "
            "on conflict do nothing returning digest"
        ),
        {"digests": digests, "prompt_set": prompt_set},
    )
    return [split_of(digest) for digest in new]


def _rows(order: PromptOrder, chunk: Iterable[NewPrompt], tally: Tally, cut: Cutter | None) -> list[dict[str, Any]]:
    """Rows of the table, equal texts once; counts what gives no prompt."""
    rows: dict[str, dict[str, Any]] = {}
    for one in chunk:
        text = one.text if cut is None else cut(one.text)
        if text is None or not text.strip():
            tally.uncut += 1
            continue
        digest = digest_of(text)
        known = {"prompt_set": order.prompt_set, "text": text, "digest": digest, "split": split_of(digest)}
        rows.setdefault(digest, known | {"reference": one.reference, "info": one.info})
    return list(rows.values())


def _counted(tally: Tally, taken: int, added: Sequence[str]) -> None:
    tally.done += taken
    tally.added += len(added)
    tally.known = tally.done - tally.uncut - tally.added
    for split in added:
        tally.splits[split] = tally.splits.get(split, 0) + 1


def _behind(source: PromptSource, done: int) -> Iterator[NewPrompt]:
    good = (one for one in source.prompts() if isinstance(one, NewPrompt))
    return islice(good, done, None)


def _chunks(found: Iterator[NewPrompt]) -> Iterator[list[NewPrompt]]:
    while chunk := list(islice(found, CHUNK)):
        yield chunk


def _note(errand: Errand, tally: Tally) -> None:
    with errand.transaction() as session:
        errand.note(session, tally.model_dump())
