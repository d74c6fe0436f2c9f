"""Labels as files have them: what a record of each published form says, in one shape.

Which form a record has shows in its keys:
    query, sample0.., best          token ids, lm-human-preferences (Ziegler et al. 2019)
    info, summaries, choice         summarize-from-feedback (Stiennon et al. 2020)
    prompt, chosen, rejected        pairs of texts, as TRL and OpenRLHF read them
    prompt, samples, best           texts of any number
    label, verdict, samples         everything, as Prefloop exports it
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.kinds import MOST_STRENGTH, Verdict

PUBLISHED_PAD = 50259
"""Pads queries and responses of the published ids; stands outside of the vocabulary and means no text."""
MIDDLE = 5
"""Of the published nine-point scale: both are alike; 1 is far better for the first, 9 for the second."""
NOBODY = "unknown"

Record = Mapping[str, Any]
Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """One answer to one question, as texts or as token ids."""

    prompt: str | Ids
    samples: tuple[str | Ids, ...]
    verdict: Verdict
    best: int | None
    """Index into `samples`, with the verdict `best` alone."""
    worker: str = NOBODY
    policies: tuple[str, ...] = ()
    """Who wrote each sample; empty: nobody knows."""
    holdout: bool = False
    """The file keeps it from training."""
    strength: int | None = None
    milliseconds: int | None = None
    reason: str | None = None
    comparison: str | None = None
    """Shared by the records about the same question; None: each record is a question of its own."""
    sample_keys: tuple[str, ...] = ()
    """Names of the samples among the records about the same question, which may show them in other orders."""
    info: dict[str, Any] | None = None
    """Of the prompt: id, title, subreddit."""
    kept: dict[str, Any] = field(default_factory=dict)
    """What has no place of its own here; it comes out again with the label."""


def parse(record: Any) -> LabelRow:
    """What a record says. Raises: ValueError naming what is wrong with it."""
    if not isinstance(record, Mapping):
        raise ValueError(f"it is {type(record).__name__}, not an object")
    for keys, read in FORMS:
        if keys <= record.keys():
            return read(record)
    if "summary" in record and "axes" in (record["summary"] or ()):
        raise ValueError("it rates one summary along axes: no comparison of samples")
    raise ValueError(f"no known form of a label has just these keys: {', '.join(map(str, record)) or 'none'}")


def pad_free(ids: Any, name: str) -> Ids:
    """Token ids without the padding behind them. Raises: ValueError if they are none."""
    if not isinstance(ids, Sequence) or not all(type(one) is int and one >= 0 for one in ids):
        raise ValueError(f"`{name}` is no list of token ids")
    kept = tuple(one for one in ids if one != PUBLISHED_PAD)
    if tuple(ids[: len(kept)]) != kept:
        raise ValueError(f"`{name}` has padding before its end")
    if not kept:
        raise ValueError(f"`{name}` is empty")
    return kept


def _published_ids(record: Record) -> LabelRow:
    names = _sample_names(record)
    samples = tuple(pad_free(record[name], name) for name in names)
    best = _index(record["best"], len(samples), "best")
    known = {"query", "best", *names}
    kept = {name: value for name, value in record.items() if name not in known}
    lengths = {"query": len(record["query"]), "sample": len(record[names[0]])}
    alike = len(set(samples)) == 1  # nothing was there to choose: kept, but it must not teach
    return LabelRow(
        prompt=pad_free(record["query"], "query"),
        samples=samples,
        verdict=Verdict.TIE if alike else Verdict.BEST,
        best=None if alike else best,
        kept={"form": "ids", "lengths": lengths}
        | ({"best": best} if alike else {})
        | ({"extra": kept} if kept else {}),
    )


def _sample_names(record: Record) -> list[str]:
    names = [name for number in range(len(record)) if (name := f"sample{number}") in record]
    if len(names) < 2 or names != [f"sample{number}" for number in range(len(names))]:
        raise ValueError("give two samples or more: sample0, sample1, ...")
    return names


def _summaries(record: Record) -> LabelRow:
    info, summaries = record["info"], record["summaries"]
    if not isinstance(info, Mapping) or not isinstance(summaries, Sequence) or len(summaries) < 2:
        raise ValueError("`info` is no object, or `summaries` are fewer than two")
    post = next((info[name] for name in ("post", "article") if info.get(name)), None)
    confidence = (record.get("extra") or {}).get("confidence")
    if confidence is not None and (type(confidence) is not int or not 1 <= confidence <= 2 * MIDDLE - 1):
        raise ValueError(f"`confidence` is {confidence!r}, not a number from 1 to 9")
    distance = 0 if confidence is None else abs(confidence - MIDDLE)
    return LabelRow(
        prompt=_text(post, "post"),
        samples=tuple(_text(one.get("text"), "text") for one in summaries),
        verdict=Verdict.BEST,
        best=_index(record["choice"], len(summaries), "choice"),
        worker=str(record.get("worker") or NOBODY),
        policies=tuple(str(one.get("policy") or NOBODY) for one in summaries),
        holdout=record.get("split", "train") != "train",
        strength=min(distance, MOST_STRENGTH) or None,
        info={name: value for name, value in info.items() if name not in ("post", "article")} or None,
        kept={
            "form": "summaries",
            "where": "post" if info.get("post") else "article",
            "notes": [one.get("note") for one in summaries],
            **{name: record[name] for name in ("batch", "split", "extra") if name in record},
        },
    )


def _pair(record: Record) -> LabelRow:
    texts = tuple(_text(record[name], name) for name in ("chosen", "rejected"))
    kept = {name: value for name, value in record.items() if name not in ("prompt", "chosen", "rejected")}
    return LabelRow(
        prompt=_text(record["prompt"], "prompt"),
        samples=texts,
        verdict=Verdict.BEST if texts[0] != texts[1] else Verdict.TIE,
        best=0 if texts[0] != texts[1] else None,
        kept={"form": "pair"} | ({"extra": kept} if kept else {}),
    )


def _texts(record: Record) -> LabelRow:
    samples = _list(record["samples"], "samples")
    kept = {name: value for name, value in record.items() if name not in ("prompt", "samples", "best")}
    return LabelRow(
        prompt=_text(record["prompt"], "prompt"),
        samples=tuple(_text(one, "samples") for one in samples),
        verdict=Verdict.BEST,
        best=_index(record["best"], len(samples), "best"),
        kept={"form": "texts"} | ({"extra": kept} if kept else {}),
    )


def _ours(record: Record) -> LabelRow:
    samples = _list(record["samples"], "samples")
    ids = [str(one["id"]) for one in samples]
    try:
        verdict = Verdict(record["verdict"])
    except ValueError as error:
        raise ValueError(f"`verdict` is {record['verdict']!r}") from error
    if verdict is Verdict.BEST and record.get("choice") not in ids:
        raise ValueError("`choice` is none of its samples")
    return LabelRow(
        prompt=_text(record["prompt"], "prompt"),
        samples=tuple(_text(one.get("text"), "text") for one in samples),
        verdict=verdict,
        best=ids.index(record["choice"]) if verdict is Verdict.BEST else None,
        worker=str(record.get("labeler") or NOBODY),
        policies=tuple(str(one.get("policy_name") or NOBODY) for one in samples),
        holdout=record.get("purpose", "train") not in ("train", "validation"),
        strength=record.get("strength"),
        milliseconds=record.get("milliseconds"),
        reason=record.get("reason"),
        comparison=str(record["comparison"]) if record.get("comparison") else None,
        sample_keys=tuple(ids) if record.get("comparison") else (),
        info=_unpacked(record.get("prompt_info")),
        kept={"form": "whole", "superseded": not record.get("current", True), "label": record["label"]},
    )


FORMS = (
    (frozenset({"query", "sample0", "best"}), _published_ids),
    (frozenset({"info", "summaries", "choice"}), _summaries),
    (frozenset({"prompt", "chosen", "rejected"}), _pair),
    (frozenset({"label", "verdict", "samples", "prompt"}), _ours),
    (frozenset({"prompt", "samples", "best"}), _texts),
)


def _unpacked(value: Any) -> Any:
    """Parquet has it as JSON text."""
    return json.loads(value) if isinstance(value, str) else value


def _text(value: Any, name: str) -> str:
    if isinstance(value, list):
        raise ValueError(f"`{name}` is a conversation or list: give it as one string")
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(f"`{name}` is no text, blank, or holds a NUL character")
    return value


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list) or len(value) < 2:
        raise ValueError(f"`{name}` is no list of two or more")
    return value


def _index(value: Any, length: int, name: str) -> int:
    if type(value) is not int or not 0 <= value < length:
        raise ValueError(f"`{name}` is {value!r}, but there are samples 0 to {length - 1}")
    return value
