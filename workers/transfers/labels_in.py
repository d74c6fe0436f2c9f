"""Labels in: records of a file become comparisons, samples and labels of a run, with where they came from.

Ids follow from the file's digest and the record's number, so a repeated or interrupted import writes nothing twice.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from pydantic import BaseModel
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import prompts, runs, usable
from app.db import among
from app.errors import InvalidError
from app.jobs import wake_run
from app.kinds import Verdict
from app.models import (
    Account,
    Assignment,
    AssignmentState,
    Checkpoint,
    CheckpointKind,
    Comparison,
    ComparisonSample,
    ComparisonState,
    Label,
    Prompt,
    Purpose,
    Role,
    Run,
    Sample,
    SamplePurpose,
)
from app.orders import LabelOrder
from app.texts import digest_of, split_of
from workers import fencing
from workers.label_rows import NOBODY
from workers.label_source import ReadLabel, Remapper, digest_of_file, read_labels
from workers.prompt_rows import Fault
from workers.transfers.errand import Errand

CHUNK = 200
SHOWN_FAULTS = 20
SPACE = UUID("5a0c7c2e-3d0f-4f63-9a2b-6f6e1c1f7b54")
"""Of the ids made here."""


KEYS: dict[type, Any] = {
    Sample: Sample.id,
    Comparison: Comparison.id,
    ComparisonSample: ComparisonSample.comparison_id,
    Assignment: Assignment.id,
    Label: Label.id,
}
"""Tables in the order in which they are written, and what tells their rows apart."""


class Tally(BaseModel):
    """How far an import of labels is, and what it did."""

    checked: bool = False
    labels: int = 0
    bad: int = 0
    faults: list[str] = []
    done: int = 0
    added: int = 0
    known: int = 0
    """Imported before, from the same file."""
    ties: int = 0
    """Of the labels: nothing was to be chosen, or nobody could."""
    holdout: int = 0
    """Of the labels: kept from training by the file."""
    usable: int | None = None
    """Labels of the run that train, now that these are in."""

    def __str__(self) -> str:
        left = f", {self.bad} bad left out" if self.bad else ""
        return (
            f"{self.labels} labels read ({self.ties} without a best one, {self.holdout} kept from training{left}); "
            f"{self.added} added, {self.known} known already. {self.usable} labels of the run train now."
        )


def import_labels(errand: Errand, remapper: Remapper, *, seconds: float | None = None) -> None:
    """Do an import of labels.

    Args:
        seconds: leave after so long, for the next attempt to go on; None: stay until all is done.
    Raises: InvalidError if the source cannot be read, or has bad records and they were not to be left out.
    """
    order = LabelOrder.model_validate(errand.claim.args["order"])
    with errand.transaction() as session:
        run = runs.get(session, errand.claim.run_id)
        samples = runs.hparams_of(run).task.samples_per_comparison
    place = errand.place(order.source)
    tally = Tally.model_validate(errand.claim.progress)
    if not tally.checked:
        _check(errand, order, read_labels(place, remapper, samples=samples), tally)
    if not order.dry_run:
        file = _File(order=order, digest=digest_of_file(place) or place, job_id=errand.claim.job_id)
        found = (one for one in read_labels(place, remapper, samples=samples) if isinstance(one, ReadLabel))
        if not _import(errand, file, islice(found, tally.done, None), tally, errand.deadline(seconds)):
            return
    with errand.transaction() as session:
        reward = runs.hparams_of(run).reward
        tally.usable = usable.count_training(session, run.id, reward.used_verdicts, surplus=reward.uses_surplus)
        fencing.finish(session, errand.claim, tally.model_dump() | {"dry_run": order.dry_run})
        wake_run(session, run.id)


class _File:
    """The file that is imported."""

    def __init__(self, *, order: LabelOrder, digest: str, job_id: UUID) -> None:
        self.order, self.digest, self.job_id = order, digest, job_id
        self.name = Path(order.source).name
        self.prompt_set = order.prompt_set or f"labels: {self.name}"

    def id(self, run: Run, *parts: object) -> UUID:
        """The same for the same file, run and parts."""
        return uuid5(SPACE, ":".join(map(str, (run.id, self.digest, *parts))))

    @property
    def origin(self) -> dict[str, Any]:
        """What is kept with each comparison."""
        return {"job": str(self.job_id), "file": self.name, "sha256": self.digest}


def _check(errand: Errand, order: LabelOrder, found: Iterator[ReadLabel | Fault], tally: Tally) -> None:
    for one in found:
        if isinstance(one, Fault):
            tally.bad += 1
            tally.faults += [str(one)] if tally.bad <= SHOWN_FAULTS else []
            continue
        tally.labels += 1
        tally.ties += one.row.verdict != Verdict.BEST
        tally.holdout += one.row.holdout
    tally.checked = True
    with errand.transaction() as session:
        errand.note(session, tally.model_dump())
    if tally.bad and not (order.keep_good or order.dry_run):
        raise InvalidError(
            f"{tally.bad:,} of {tally.bad + tally.labels:,} records are bad, so nothing was imported. "
            f"{'; '.join(tally.faults)}. Mend them, or ask to keep the good ones."
        )
    if not tally.labels:
        raise InvalidError("There is no label in it that a run could learn from.")


def _import(errand: Errand, file: _File, found: Iterator[ReadLabel], tally: Tally, late: Callable[[], bool]) -> bool:
    """False if it left before the end."""
    while chunk := list(islice(found, CHUNK)):
        if errand.should_stop() or late():
            with errand.transaction() as session:
                fencing.give_back(session, errand.claim)
            return False
        with errand.transaction() as session:
            run = runs.get(session, errand.claim.run_id)
            added = _write(session, run, file, chunk)
            tally.done += len(chunk)
            tally.added += added
            tally.known += len(chunk) - added
            errand.note(session, tally.model_dump())
            wake_run(session, run.id)
    return True


def _write(session: Session, run: Run, file: _File, chunk: Sequence[ReadLabel]) -> int:
    """All rows of these labels; how many labels were new."""
    prompt_ids = _prompts(session, file, chunk)
    policies = _policies(session, run, {name for one in chunk for name in _writers(one)})
    workers = _workers(session, {one.row.worker for one in chunk})
    now = session.scalars(select(func.clock_timestamp())).one()
    rows = [_rows(run, file, one, prompt_ids, policies, workers, now) for one in chunk]
    added = 0
    for table, key in KEYS.items():
        values = [row for one in rows for row in one[table]]
        added = len(session.scalars(insert(table).on_conflict_do_nothing().returning(key), values).all())
    _unsettle(session, [row["id"] for one in rows for row in one[Comparison]])
    return added  # of labels, which come last


def _unsettle(session: Session, ids: Sequence[UUID]) -> None:
    """Several labels of one comparison may come in different chunks, and the loop looks in between."""
    settled = (among(Comparison.id, ids), Comparison.trains.is_not(None))
    session.execute(update(Comparison).where(*settled).values(trains=None))


def _rows(
    run: Run,
    file: _File,
    one: ReadLabel,
    prompt_ids: dict[str, UUID],
    policies: dict[str, UUID],
    workers: dict[str, UUID],
    now: datetime,
) -> dict[type, list[dict[str, Any]]]:
    question = one.row.comparison or one.number
    comparison_id, prompt_id = file.id(run, "comparison", question), prompt_ids[digest_of(one.prompt)]
    writers = [policies[name] for name in _writers(one)]
    sample_ids = [file.id(run, "sample", question, _place(one, place)) for place in range(len(one.samples))]
    assignment_id = file.id(run, "assignment", one.number)
    key = f"import:{file.digest[:16]}:{one.number}"
    return {
        Sample: [
            {
                "id": sample_id,
                "run_id": run.id,
                "prompt_id": prompt_id,
                "policy_id": writer,
                "purpose": SamplePurpose.COMPARISON,
                "text": text.text,
                "token_ids": list(text.ids),
                "logprobs": [],
                "kept_tokens": len(text.ids),
                "valid": True,
                "temperature": None,
                "seed": 0,
            }
            for sample_id, writer, text in zip(sample_ids, writers, one.samples, strict=True)
        ],
        Comparison: [
            {
                "id": comparison_id,
                "run_id": run.id,
                "prompt_id": prompt_id,
                "policy_id": writers[0],
                "promotion": run.promotions,
                "purpose": Purpose.EVALUATION if one.row.holdout else Purpose.TRAIN,
                "state": ComparisonState.LABELED,
                "closed_at": now,
                "wanted": None,
                "answers": 1,
                "origin": file.origin,
            }
        ],
        ComparisonSample: [
            {"comparison_id": comparison_id, "slot": slot, "sample_id": sample_id}
            for slot, sample_id in enumerate(sorted(sample_ids) if one.row.sample_keys else sample_ids)
        ],
        Assignment: [
            {
                "id": assignment_id,
                "comparison_id": comparison_id,
                "labeler_id": workers[one.row.worker],
                "state": AssignmentState.ANSWERED,
                "shown": sample_ids,
                "expires_at": now,
            }
        ],
        Label: [
            {
                "id": file.id(run, "label", one.number),
                "comparison_id": comparison_id,
                "labeler_id": workers[one.row.worker],
                "assignment_id": assignment_id,
                "revision": 1,
                "verdict": one.row.verdict,
                "chosen_sample_id": None if one.row.best is None else sample_ids[one.row.best],
                "idempotency_key": key,
                "milliseconds": one.row.milliseconds,
                "reason": one.row.reason,
                "strength": one.row.strength if len(sample_ids) == 2 else None,
                "imported": {"record": one.number, "worker": one.row.worker} | one.row.kept,
            }
        ],
    }


def _place(one: ReadLabel, place: int) -> object:
    """What tells a sample from the others of its question, in whichever order it was shown."""
    return one.row.sample_keys[place] if one.row.sample_keys else place


def _writers(one: ReadLabel) -> Sequence[str]:
    return one.row.policies or (NOBODY,) * len(one.samples)


def _prompts(session: Session, file: _File, chunk: Sequence[ReadLabel]) -> dict[str, UUID]:
    """Ids by digest."""
    rows: dict[str, dict[str, Any]] = {}
    for one in chunk:
        digest = digest_of(one.prompt)
        values = {"prompt_set": file.prompt_set, "text": one.prompt, "digest": digest, "split": split_of(digest)}
        rows.setdefault(digest, values | {"reference": None, "info": one.row.info})
    prompts.insert(session, list(rows.values()))
    found = select(Prompt.digest, Prompt.id).where(Prompt.prompt_set == file.prompt_set, Prompt.digest.in_(rows))
    return {row.digest: row.id for row in session.execute(found)}


def _policies(session: Session, run: Run, names: set[str]) -> dict[str, UUID]:
    """A checkpoint without files for each policy that wrote elsewhere."""
    ids = {name: uuid5(SPACE, f"{run.id}:policy:{name}") for name in sorted(names)}
    there = set(session.scalars(select(Checkpoint.id).where(Checkpoint.id.in_(ids.values()))))
    last = session.scalar(
        select(func.max(Checkpoint.number)).where(
            Checkpoint.run_id == run.id, Checkpoint.kind == CheckpointKind.EXTERNAL
        )
    )
    missing = [name for name in ids if ids[name] not in there]
    for number, name in enumerate(missing, start=0 if last is None else last + 1):
        session.add(
            Checkpoint(
                id=ids[name],
                run_id=run.id,
                kind=CheckpointKind.EXTERNAL,
                digest=f"external:{name}",
                number=number,
                report={"policy": name},
            )
        )
    session.flush()
    return ids


def _workers(session: Session, names: set[str]) -> dict[str, UUID]:
    """An account nobody can sign in to for each person who labeled elsewhere."""
    ids = {name: uuid5(SPACE, f"worker:{name}") for name in sorted(names)}
    rows = [{"id": ids[name], "name": f"{name} (imported)", "role": Role.LABELER} for name in ids]
    session.execute(insert(Account).on_conflict_do_nothing(), rows)
    return ids
