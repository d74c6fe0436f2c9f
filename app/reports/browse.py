"""Samples of a run to look through: any two writers side by side, searched, filtered, a page at a time."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, true
from sqlalchemy.orm import Session, aliased

from app.comparisons import CLOSING
from app.models import (
    Account,
    Checkpoint,
    CheckpointKind,
    ComparisonSample,
    Label,
    Prompt,
    Run,
    Sample,
    SamplePurpose,
    SampleReading,
    SampleScore,
    Split,
    Verdict,
)
from app.usable import is_current

PAGE = 20
"""Prompts of a page."""
SHOWN = 4
"""Samples of one writer to one prompt."""
WRITERS = (CheckpointKind.POLICY, CheckpointKind.REFERENCE, CheckpointKind.EXTERNAL)


class Labeled(StrEnum):
    """What people said of a sample."""

    ANY = ""
    LABELED = "labeled"
    CHOSEN = "chosen"
    PASSED_OVER = "passed_over"
    """Labeled, and never chosen."""
    UNLABELED = "unlabeled"


class Order(StrEnum):
    """Which prompts come first."""

    NEWEST = "newest"
    HIGHEST_SCORE = "highest_score"
    LOWEST_SCORE = "lowest_score"
    HIGHEST_KL = "highest_kl"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleQuery:
    """What to look for; without a condition everything. A prompt is found if one of its samples meets them all."""

    left: UUID | None = None
    """A writer; None: whoever it was."""
    right: UUID | None = None
    """Another one, on the same prompts."""
    words: str = ""
    """In the prompt or the sample, in any case."""
    split: Split | None = None
    valid: bool | None = None
    labeled: Labeled = Labeled.ANY
    score_from: float | None = None
    """By the newest reward model; samples that it has not scored are not found."""
    score_to: float | None = None
    kl_from: float | None = None
    """Nats; samples that were not read again are not found."""
    kl_to: float | None = None
    order: Order = Order.NEWEST
    page: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A piece of a text."""

    text: str
    kl: float
    """Log-probability under the policy less that under the reference, in nats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one person said of the comparison a sample stood in."""

    label: UUID
    labeler: str
    verdict: Verdict
    chosen: bool
    """Best, and it was this sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowsedSample:
    """A sample with all that is known of it."""

    id: UUID
    policy: UUID
    writer: str
    purpose: SamplePurpose
    text: str
    valid: bool
    score: float | None
    kl: float | None
    tokens: tuple[Token, ...]
    """Empty until it was read again."""
    said: tuple[Said, ...]
    found: bool
    """It meets the conditions itself; others stand beside it for comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowsedPrompt:
    """A prompt and what the writers made of it."""

    id: UUID
    text: str
    split: Split
    columns: tuple[tuple[BrowsedSample, ...], ...]
    """One per writer asked for, one of all without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePage:
    """A page of what was found."""

    prompts: tuple[BrowsedPrompt, ...]
    page: int
    more: bool
    unmeasured: tuple[UUID, ...]
    """Samples of this page whose KL or score could be found out."""


_Score = aliased(SampleScore)


def browse(session: Session, run: Run, query: SampleQuery) -> SamplePage:
    """The page `query.page` of what was found."""
    asked = list(dict.fromkeys(one for one in (query.left, query.right) if one is not None))
    found = session.scalars(_prompts(run, query, asked)).all()
    shown = found[:PAGE]
    rows = session.execute(_samples(run, query, asked, shown)).all()
    said = _said(session, [row.Sample.id for row in rows])
    named = {prompt.id: prompt for prompt in session.scalars(select(Prompt).where(Prompt.id.in_(shown)))}
    by_prompt: dict[UUID, list[BrowsedSample]] = defaultdict(list)
    for row in rows:
        by_prompt[row.Sample.prompt_id].append(_browsed(run, row, said))
    return SamplePage(
        prompts=tuple(
            BrowsedPrompt(
                id=id_,
                text=named[id_].text,
                split=named[id_].split,
                columns=_columns(by_prompt[id_], asked),
            )
            for id_ in shown
        ),
        page=query.page,
        more=len(found) > PAGE,
        unmeasured=tuple(row.Sample.id for row in rows if _measurable(run, row)),
    )


def writers(session: Session, run_id: UUID) -> list[tuple[UUID, str]]:
    """Who may have written samples of the run, newest first, by id and name."""
    of_run = (Checkpoint.run_id == run_id, Checkpoint.kind.in_(WRITERS))
    found = session.scalars(select(Checkpoint).where(*of_run).order_by(Checkpoint.created_at.desc())).all()
    return [(one.id, one.name) for one in found]


def _prompts(run: Run, query: SampleQuery, asked: Sequence[UUID]) -> Select[UUID, Any]:
    by: dict[Order, ColumnElement[Any]] = {
        Order.NEWEST: func.max(Sample.created_at).desc(),
        Order.HIGHEST_SCORE: func.max(_Score.score).desc().nulls_last(),
        Order.LOWEST_SCORE: func.min(_Score.score).asc().nulls_last(),
        Order.HIGHEST_KL: func.max(SampleReading.kl).desc().nulls_last(),
    }
    on_both = [Sample.prompt_id.in_(_written(run, one)) for one in asked] if len(asked) > 1 else []
    return (
        _joined(run, select(Sample.prompt_id))
        .where(*_by(run, asked), *_conditions(query), *on_both)
        .group_by(Sample.prompt_id)
        .order_by(by[query.order], Sample.prompt_id)
        .limit(PAGE + 1)
        .offset((query.page - 1) * PAGE)
    )


def _written(run: Run, writer: UUID) -> Select[UUID]:
    """Prompts that a writer has answered."""
    other = aliased(Sample)
    return select(other.prompt_id).where(other.run_id == run.id, other.policy_id == writer)


def _samples(run: Run, query: SampleQuery, asked: Sequence[UUID], prompts: Sequence[UUID]) -> Select[*tuple[Any, ...]]:
    """Of each prompt and column at most SHOWN, those that meet the conditions first."""
    found = and_(*_conditions(query)).label("found") if _conditions(query) else true().label("found")
    column = (Sample.prompt_id, Sample.policy_id) if asked else (Sample.prompt_id,)
    first: dict[Order, ColumnElement[Any]] = {
        Order.NEWEST: Sample.created_at.desc(),
        Order.HIGHEST_SCORE: _Score.score.desc().nulls_last(),
        Order.LOWEST_SCORE: _Score.score.asc().nulls_last(),
        Order.HIGHEST_KL: SampleReading.kl.desc().nulls_last(),
    }
    order = (found.desc(), first[query.order], Sample.created_at.desc(), Sample.id)
    place = func.row_number().over(partition_by=column, order_by=order)
    ranked = (
        _joined(run, select(Sample.id, found, place.label("place")))
        .where(*_by(run, asked), Sample.prompt_id.in_(prompts))
        .subquery()
    )
    columns = (Sample, Checkpoint, Prompt.split, _Score.score, SampleReading, ranked.c.found)
    return (
        _joined(run, select(*columns))
        .join(ranked, ranked.c.id == Sample.id)
        .join(Checkpoint, Checkpoint.id == Sample.policy_id)
        .where(ranked.c.place <= SHOWN)
        .order_by(Sample.prompt_id, ranked.c.place)
    )


def _joined(run: Run, query: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    return (
        query.select_from(Sample)
        .join(Prompt, Prompt.id == Sample.prompt_id)
        .outerjoin(_Score, and_(_Score.sample_id == Sample.id, _Score.reward_model_id == run.reward_model_id))
        .outerjoin(SampleReading, SampleReading.sample_id == Sample.id)
    )


def _by(run: Run, asked: Sequence[UUID]) -> list[ColumnElement[bool]]:
    """Of the run and the writers; texts of people, which stand in head-to-heads, are nobody's samples."""
    theirs = [Sample.policy_id.in_(asked)] if asked else []
    written = or_(Sample.purpose != SamplePurpose.CONTEST, func.cardinality(Sample.logprobs) > 0)
    return [Sample.run_id == run.id, written, *theirs]


def _conditions(query: SampleQuery) -> list[ColumnElement[bool]]:
    words = query.words.strip()
    bounds = (
        (_Score.score, query.score_from, query.score_to),
        (SampleReading.kl, query.kl_from, query.kl_to),
    )
    return [
        *([_mentions(words)] if words else []),
        *([Prompt.split == query.split] if query.split else []),
        *([] if query.valid is None else [Sample.valid.is_(query.valid)]),
        *_labeled(query.labeled),
        *(column >= low for column, low, _ in bounds if low is not None),
        *(column <= high for column, _, high in bounds if high is not None),
    ]


def _mentions(words: str) -> ColumnElement[bool]:
    return or_(Prompt.text.icontains(words, autoescape=True), Sample.text.icontains(words, autoescape=True))


def _labeled(wanted: Labeled) -> list[ColumnElement[bool]]:
    answered = (
        select(Label.id)
        .join(ComparisonSample, ComparisonSample.comparison_id == Label.comparison_id)
        .where(ComparisonSample.sample_id == Sample.id, Label.verdict.in_(CLOSING), is_current())
    )
    chosen = answered.where(Label.chosen_sample_id == Sample.id).exists()
    conditions: dict[Labeled, list[ColumnElement[bool]]] = {
        Labeled.ANY: [],
        Labeled.LABELED: [answered.exists()],
        Labeled.CHOSEN: [chosen],
        Labeled.PASSED_OVER: [answered.exists(), ~chosen],
        Labeled.UNLABELED: [~answered.exists()],
    }
    return conditions[wanted]


def _said(session: Session, sample_ids: Sequence[UUID]) -> dict[UUID, list[Said]]:
    rows = session.execute(
        select(ComparisonSample.sample_id, Label, Account.name)
        .join(Label, Label.comparison_id == ComparisonSample.comparison_id)
        .join(Account, Account.id == Label.labeler_id)
        .where(ComparisonSample.sample_id.in_(sample_ids), Label.verdict.in_(CLOSING), is_current())
        .order_by(Label.created_at)
    )
    found: dict[UUID, list[Said]] = defaultdict(list)
    for sample_id, label, name in rows:
        chosen = label.chosen_sample_id == sample_id
        found[sample_id].append(Said(label=label.id, labeler=name, verdict=label.verdict, chosen=chosen))
    return found


def _browsed(run: Run, row: Any, said: dict[UUID, list[Said]]) -> BrowsedSample:
    sample, reading = row.Sample, row.SampleReading
    own = row.Checkpoint.run_id == run.id
    return BrowsedSample(
        id=sample.id,
        policy=sample.policy_id,
        writer=row.Checkpoint.name + ("" if own else " of another run"),
        purpose=sample.purpose,
        text=sample.text,
        valid=sample.valid,
        score=row.score,
        kl=reading.kl if reading else None,
        tokens=_tokens(sample.text, reading) if reading else (),
        said=tuple(said.get(sample.id, ())),
        found=row.found,
    )


def _tokens(text: str, reading: SampleReading) -> tuple[Token, ...]:
    """The text in pieces; a token that ends no character adds its KL to the next one that does."""
    tokens, start, owed = list[Token](), 0, 0.0
    for end, kl in zip(reading.token_ends, reading.token_kl, strict=True):
        owed += kl
        if end > start:
            tokens.append(Token(text=text[start:end], kl=owed))
            start, owed = end, 0.0
    return tuple(tokens)


def _columns(samples: Sequence[BrowsedSample], asked: Sequence[UUID]) -> tuple[tuple[BrowsedSample, ...], ...]:
    if not asked:
        return (tuple(samples),)
    return tuple(tuple(one for one in samples if one.policy == writer) for writer in asked)


def _measurable(run: Run, row: Any) -> bool:
    sample, hparams = row.Sample, run.hparams
    at_this_temperature = sample.temperature == hparams["task"]["temperature"]
    has_kl = at_this_temperature and len(sample.logprobs) == len(sample.token_ids)
    unread = row.SampleReading is None and has_kl
    return sample.kept_tokens > 0 and (unread or (row.score is None and run.reward_model_id is not None))
