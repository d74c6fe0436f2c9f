"""Labels out, row by row in bounded memory: whole, or in the forms that others publish and read.

The whole record is made from the tables; every other form is made from the whole record alone.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Row, Select, and_, select, type_coerce
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.types import NullType

from app import answers
from app.db import SessionFactory, among, session_scope
from app.kinds import MOST_STRENGTH, Verdict
from app.models import Account, Assignment, Checkpoint, CheckpointKind, Comparison, Guideline, Label, Prompt, Sample
from app.orders import LabelFormat, LabelScope
from app.usable import is_current, usable_labels

Format = LabelFormat
CHUNK = 1000
"""Labels held in memory at a time."""
PUBLISHED_PAD = 50259
"""Id that pads queries and responses in the published form."""
SURE = 5
"""Middle of the published nine-point scale."""

Record = dict[str, Any]
Encode = Callable[[str], list[int]]
"""A prompt's token ids."""
TEACHING: dict[LabelFormat, tuple[Verdict, ...]] = {
    LabelFormat.JSONL: (),
    LabelFormat.PARQUET: (),
    LabelFormat.IDS: (Verdict.BEST, Verdict.TIE),
}
"""Verdicts that stand in a form, where they are not `best` alone; none: every label stands there."""


def lines(factory: SessionFactory, run_id: UUID, form: LabelFormat) -> Iterator[bytes]:
    """JSON lines of a run's labels, oldest first, in a transaction that lasts as long as the reading."""
    with session_scope(factory) as session:
        for record in records(session, run_id, form):
            yield line(record, form)


def line(record: Record, form: LabelFormat) -> bytes:
    """As JSON in UTF-8; forms that others publish have the spaces that theirs have."""
    if form == LabelFormat.JSONL:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    return (json.dumps(record, ensure_ascii=False) + "\n").encode()


def records(
    session: Session,
    run_id: UUID,
    form: LabelFormat,
    scope: LabelScope | None = None,
    *,
    encode: Encode | None = None,
    lengths: tuple[int, int] = (0, 0),
) -> Iterator[Record]:
    """Records of one form, oldest label first; those that teach nobody stand in the whole forms alone.

    Args:
        encode: for the form of ids.
        lengths: of queries and responses in it, in tokens.
    """
    for record in whole(session, run_id, scope or LabelScope(), verdicts=TEACHING.get(form, (Verdict.BEST,))):
        match form:
            case LabelFormat.BEST_OF_4:
                texts = [sample["text"] for sample in record["samples"]]
                yield {"prompt": record["prompt"], "samples": texts, "best": _best(record)}
            case LabelFormat.PAIRS | LabelFormat.PAIRS_ONE:
                yield from _pairs(record, one=form == LabelFormat.PAIRS_ONE)
            case LabelFormat.SUMMARIES:
                yield _summaries(record)
            case LabelFormat.IDS:
                assert encode is not None, "ids need a tokenizer"
                yield from _ids(record, encode, lengths)
            case _:
                yield record


def whole(session: Session, run_id: UUID, scope: LabelScope, *, verdicts: Sequence[Verdict] = ()) -> Iterator[Record]:
    """Everything about each label.

    Args:
        verdicts: only labels that count and say this; none: all labels.
    """
    query = _query(run_id, scope, verdicts).execution_options(yield_per=CHUNK)
    writers: dict[UUID, Record] = {}
    for chunk in session.execute(query).partitions():
        samples = _samples(session, {sample_id for row in chunk for sample_id in row.shown}, writers)
        said = answers.stored(session, {row.id for row in chunk})
        for row in chunk:
            yield _whole(row, [samples[sample_id] for sample_id in row.shown], said.get(row.id, {}))


def givers(session: Session, run_id: UUID) -> list[tuple[UUID, str]]:
    """Everybody who labeled in a run, ids and names, by name."""
    asked = (
        select(Account.id, Account.name)
        .where(Account.id.in_(select(Label.labeler_id).join(Comparison).where(Comparison.run_id == run_id)))
        .order_by(Account.name, Account.id)
    )
    return [(id_, name) for id_, name in session.execute(asked)]


def _query(run_id: UUID, scope: LabelScope, verdicts: Sequence[Verdict]) -> Select[*tuple[Any, ...]]:
    query = (
        select(
            *(Label.id, Label.revision, Label.verdict, Label.chosen_sample_id, Label.reason, Label.strength),
            *(Label.milliseconds, Label.created_at, Label.labeler_id, Label.imported, Label.surplus),
            is_current().label("current"),
            *(_as_it_comes(Assignment.shown).label("shown"), Assignment.created_at.label("shown_at")),
            *(Comparison.id.label("comparison_id"), Comparison.purpose, Comparison.promotion, Comparison.origin),
            Comparison.policy_id,
            *(Prompt.id.label("prompt_id"), Prompt.text, Prompt.split, Prompt.reference, Prompt.info),
            Guideline.version,
        )
        .join(Assignment, Assignment.id == Label.assignment_id)
        .join(Comparison, Comparison.id == Label.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(Account, Account.id == Label.labeler_id)
        .outerjoin(Guideline, Guideline.id == Label.guideline_id)
        .where(Comparison.run_id == run_id, *_conditions(scope))
        .order_by(Label.created_at, Label.id)
    )
    if not (verdicts or scope.usable):
        return query
    counted = usable_labels(run_id, verdicts or (Verdict.BEST,)).with_only_columns(Label.id).subquery()
    return query.where(Label.id.in_(select(counted.c.id)))


def _conditions(scope: LabelScope) -> Iterator[Any]:
    if scope.purposes is not None:
        yield Comparison.purpose.in_(scope.purposes)
    if scope.verdicts is not None:
        yield Label.verdict.in_(scope.verdicts)
    if scope.splits is not None:
        yield Prompt.split.in_(scope.splits)
    if scope.labelers is not None:
        yield Label.labeler_id.in_(scope.labelers)
    if scope.policies is not None:
        yield Comparison.policy_id.in_(scope.policies)
    if scope.since is not None:
        yield Label.created_at >= scope.since
    if scope.until is not None:
        yield Label.created_at < scope.until
    if scope.current:
        yield is_current()
    if scope.enabled:
        yield Account.disabled_at.is_(None)
    if scope.imported is not None:
        yield and_(Label.imported.is_not(None) if scope.imported else Label.imported.is_(None))


def _samples(session: Session, ids: set[UUID], writers: dict[UUID, Record]) -> dict[UUID, Record]:
    """What stands about each sample.

    Args:
        writers: what stands about policies; those that are new are added.
    """
    query = select(
        *(Sample.id, Sample.text, _as_it_comes(Sample.token_ids), Sample.kept_tokens, Sample.valid, Sample.rejected),
        *(Sample.policy_id, Sample.temperature, Sample.seed),
    ).where(among(Sample.id, ids))
    found = session.execute(query).all()
    if missing := {row.policy_id for row in found} - writers.keys():
        writers |= _writers(session, missing)
    return {
        id_: {
            "id": str(id_),
            "text": text,
            "token_ids": tokens[:kept],
            **writers[policy],
            "temperature": temperature,
            "seed": seed,
            "sampled_tokens": len(tokens),
            "valid": valid,
            "rejected_before": rejected,
        }
        for id_, text, tokens, kept, valid, rejected, policy, temperature, seed in found
    }


def _as_it_comes(column: ColumnElement[Any] | InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    """An array as the driver reads it, which gives the same lists, item by item but in C."""
    return type_coerce(column, NullType())


def _writers(session: Session, ids: set[UUID]) -> dict[UUID, Record]:
    name = Checkpoint.report["policy"].as_string()
    query = select(Checkpoint.id, Checkpoint.kind, Checkpoint.number, Checkpoint.digest, name.label("name"))
    return {
        row.id: {
            "policy": str(row.id),
            "policy_kind": row.kind.value,
            "policy_number": row.number,
            "policy_name": row.name if row.kind == CheckpointKind.EXTERNAL else f"{row.kind.value} {row.number}",
            "policy_digest": row.digest,
        }
        for row in session.execute(query.where(among(Checkpoint.id, ids)))
    }


def _whole(row: Row[*tuple[Any, ...]], shown: list[Record], said: dict[str, int | str]) -> Record:
    return {
        "label": str(row.id),
        "revision": row.revision,
        "current": row.current,
        "surplus": row.surplus,
        "verdict": row.verdict.value,
        "choice": str(row.chosen_sample_id) if row.chosen_sample_id else None,
        "reason": row.reason,
        "strength": row.strength,
        "answers": said,
        "milliseconds": row.milliseconds,
        "shown_at": row.shown_at.isoformat(),
        "created_at": row.created_at.isoformat(),
        "labeler": str(row.labeler_id),
        "guideline_version": row.version,
        "comparison": str(row.comparison_id),
        "purpose": row.purpose.value,
        "promotion": row.promotion,
        "serving_policy": str(row.policy_id),
        "prompt_id": str(row.prompt_id),
        "prompt": row.text,
        "split": row.split.value,
        "reference": row.reference,
        "prompt_info": row.info,
        "samples": shown,
        "origin": row.origin,
        "imported": row.imported,
    }


def _best(record: Record) -> int:
    return [sample["id"] for sample in record["samples"]].index(record["choice"])


def _pairs(record: Record, *, one: bool) -> Iterator[Record]:
    """Chosen and rejected: each rejected one, or one that a hash of the label picks."""
    best, texts = _best(record), [sample["text"] for sample in record["samples"]]
    rejected = [text for place, text in enumerate(texts) if place != best]
    if one:
        rejected = [rejected[int(hashlib.sha256(record["label"].encode()).hexdigest(), 16) % len(rejected)]]
    extra = (record["imported"] or {}).get("extra", {})
    for text in rejected:
        yield {"prompt": record["prompt"], "chosen": texts[best], "rejected": text, **extra}


def _summaries(record: Record) -> Record:
    kept, info = record["imported"] or {}, record["prompt_info"] or {}
    best, samples = _best(record), record["samples"]
    notes = kept.get("notes") or [None] * len(samples)
    text = {kept.get("where", "post"): record["prompt"]}
    first, others = {"id": info.get("id", record["prompt_id"])}, ("title", "subreddit", "site")
    known = {name: info[name] for name in others if name in info}
    rest = {name: info[name] for name in sorted(info) if name != "id" and name not in others}
    return {
        "info": first | text | known | rest,
        "summaries": [
            {"text": sample["text"], "policy": sample["policy_name"], "note": note}
            for sample, note in zip(samples, notes, strict=True)
        ],
        "choice": best,
        "worker": kept.get("worker", record["labeler"]),
        "batch": kept.get("batch", record["comparison"][:8] if kept else f"promotion{record['promotion']}"),
        "split": kept.get("split", _published_split(record)),
        "extra": kept.get("extra", _confidence(record["strength"], best)),
    }


def _published_split(record: Record) -> str:
    """Where the published form has it: valid1 selects, valid2 reports."""
    return {"train": "train", "valid": "valid1", "test": "valid2"}[record["split"]]


def _confidence(strength: int | None, best: int) -> Record:
    """A strength of a pair on the published scale: 1 is far better for the first, 9 for the second."""
    if strength is None:
        return {}
    distance = min(strength, MOST_STRENGTH)
    return {"confidence": SURE + distance if best == 1 else SURE - distance}


def _ids(record: Record, encode: Encode, lengths: tuple[int, int]) -> Iterator[Record]:
    kept = record["imported"] or {}
    best = kept.get("best") if record["choice"] is None else _best(record)
    if best is None:  # a tie of ours has no place in this form; a published record of identical samples has
        return
    found = kept.get("lengths") or {"query": lengths[0], "sample": lengths[1]}
    query = kept.get("query") or encode(record["prompt"])[-found["query"] :]
    samples = [_padded(sample["token_ids"], found["sample"]) for sample in record["samples"]]
    named = {f"sample{place}": ids for place, ids in enumerate(samples)}
    yield {"query": _padded(query, found["query"]), **named, "best": best, **kept.get("extra", {})}


def _padded(ids: Sequence[int], length: int) -> list[int]:
    return [*ids, *[PUBLISHED_PAD] * (length - len(ids))]
