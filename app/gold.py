"""Gold: comparisons whose right answer a researcher has decided; they are mixed in secretly and never train.

A gold comparison is a copy: the same samples of the same prompt, asked anew of those who did not meet the first. What
it was copied from keeps its labels and goes on training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, aliased

from app import audit, comparisons, quality
from app.comparisons import CLOSING
from app.errors import ConflictError, InvalidError, NotFoundError
from app.models import (
    Account,
    Comparison,
    ComparisonSample,
    ComparisonState,
    Gold,
    Label,
    Prompt,
    Purpose,
    Run,
    Sample,
    Verdict,
)
from app.usable import is_current

MOST_CHARACTERS = 4_000
PAGE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An answered comparison that could become gold."""

    comparison_id: UUID
    prompt: str
    samples: tuple[tuple[UUID, str, int], ...]
    """Id, text, and how many labelers picked it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authored:
    """A gold comparison with its answer, as researchers see it."""

    comparison_id: UUID
    prompt: str
    right: str
    explanation: str
    author: str
    created_at: datetime
    retired: bool
    answers: int
    """Of labelers, as they stand."""
    agreed: int
    """Of these, with the right one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How often a labeler picked the right sample of gold comparisons; a tie or none is a miss."""

    right: int
    n: int
    low: float
    """Ends of the 95 % Wilson interval."""
    high: float


def author(
    session: Session, run_id: UUID, comparison_id: UUID, sample_id: UUID, explanation: str, author_id: UUID
) -> Comparison:
    """Copy a comparison to gold, with its right answer.

    Raises: NotFoundError if the run has no such comparison; InvalidError unless the sample is one of it and an
        explanation is given; ConflictError if the same samples are gold already.
    """
    source = session.scalar(select(Comparison).where(Comparison.id == comparison_id).with_for_update(key_share=True))
    if source is None or source.run_id != run_id:
        raise NotFoundError("This run has no such comparison.")
    members = select(ComparisonSample.sample_id).where(ComparisonSample.comparison_id == comparison_id)
    sample_ids = session.scalars(members.order_by(ComparisonSample.slot)).all()
    if sample_id not in sample_ids:
        raise InvalidError("Say which of its samples is the best.")
    if not explanation.strip() or len(explanation) > MOST_CHARACTERS or "\x00" in explanation:
        raise InvalidError(f"Say why, in at most {MOST_CHARACTERS} characters: those who judge the labelers need it.")
    if session.scalar(_gold_of(sample_ids[0])) is not None:
        raise ConflictError("These samples are a gold comparison already.")
    made = comparisons.create(
        session,
        run=session.get_one(Run, run_id),
        prompt_id=source.prompt_id,
        sample_ids=sample_ids,
        policy_id=source.policy_id,
        purpose=Purpose.GOLD,
        repeat_of_id=source.repeat_of_id or source.id,
    )
    session.add(Gold(comparison_id=made.id, sample_id=sample_id, explanation=explanation.strip(), author_id=author_id))
    session.flush()
    audit.record(session, author_id, "gold.authored", run_id=run_id, comparison=str(made.id), copy_of=str(source.id))
    return made


def retire(session: Session, comparison_id: UUID, actor_id: UUID) -> UUID:
    """Ask it no more; its answers stay. The run it is of. Raises: NotFoundError."""
    found = session.get(Comparison, comparison_id)
    if found is None or found.purpose != Purpose.GOLD:
        raise NotFoundError("There is no such gold comparison.")
    found.state = ComparisonState.RETIRED
    session.flush()
    audit.record(session, actor_id, "gold.retired", run_id=found.run_id, comparison=str(comparison_id))
    return found.run_id


def candidates(session: Session, run_id: UUID, *, count: int = PAGE) -> list[Candidate]:
    """The newest answered comparisons that are not gold, with what labelers picked."""
    copied = aliased(Comparison)
    copies = (
        select(ComparisonSample.sample_id)
        .join(copied, copied.id == ComparisonSample.comparison_id)
        .where(copied.run_id == run_id, copied.purpose == Purpose.GOLD)
    )
    first = select(ComparisonSample.sample_id).where(
        ComparisonSample.comparison_id == Comparison.id, ComparisonSample.slot == 0
    )
    query = (
        select(Comparison.id, Prompt.text)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .where(
            Comparison.run_id == run_id,
            Comparison.state == ComparisonState.LABELED,
            Comparison.purpose.in_((Purpose.TRAIN, Purpose.VALIDATION, Purpose.EVALUATION)),
            first.scalar_subquery().not_in(copies),
        )
        .order_by(Comparison.closed_at.desc())
        .limit(count)
    )
    rows = session.execute(query).all()
    samples = _samples(session, [comparison_id for comparison_id, _ in rows])
    return [Candidate(comparison_id=one, prompt=prompt, samples=tuple(samples[one])) for one, prompt in rows]


def authored(session: Session, run_id: UUID) -> list[Authored]:
    """The run's gold comparisons, newest first."""
    answered = (
        select(
            Label.comparison_id,
            func.count().label("answers"),
            func.count().filter(Label.chosen_sample_id == Gold.sample_id).label("agreed"),
        )
        .join(Gold, Gold.comparison_id == Label.comparison_id)
        .where(Label.verdict.in_(CLOSING), is_current())
        .group_by(Label.comparison_id)
        .subquery()
    )
    query = (
        select(Gold, Comparison.state, Prompt.text, Sample.text, Account.name, answered.c.answers, answered.c.agreed)
        .join(Comparison, Comparison.id == Gold.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(Sample, Sample.id == Gold.sample_id)
        .join(Account, Account.id == Gold.author_id)
        .outerjoin(answered, answered.c.comparison_id == Gold.comparison_id)
        .where(Comparison.run_id == run_id)
        .order_by(Gold.created_at.desc())
    )
    return [
        Authored(
            comparison_id=gold.comparison_id,
            prompt=prompt,
            right=right,
            explanation=gold.explanation,
            author=name,
            created_at=gold.created_at,
            retired=state == ComparisonState.RETIRED,
            answers=answers or 0,
            agreed=agreed or 0,
        )
        for gold, state, prompt, right, name, answers, agreed in session.execute(query)
    ]


def agreement(session: Session, labeler_id: UUID, run_id: UUID) -> Agreement:
    """Of a labeler, over the answers that stand."""
    query = (
        select(func.count(), func.count().filter(Label.chosen_sample_id == Gold.sample_id))
        .select_from(Label)
        .join(Gold, Gold.comparison_id == Label.comparison_id)
        .join(Comparison, Comparison.id == Label.comparison_id)
        .where(
            Comparison.run_id == run_id,
            Label.labeler_id == labeler_id,
            Label.verdict.in_(CLOSING),
            is_current(),
        )
    )
    n, right = session.execute(query).one()
    interval = quality.wilson_interval(right, n)
    return Agreement(right=right, n=n, low=interval.low, high=interval.high)


def _gold_of(sample_id: UUID) -> Select[UUID]:
    return (
        select(Comparison.id)
        .join(ComparisonSample, ComparisonSample.comparison_id == Comparison.id)
        .where(Comparison.purpose == Purpose.GOLD, ComparisonSample.sample_id == sample_id)
        .limit(1)
    )


def _samples(session: Session, comparison_ids: Sequence[UUID]) -> dict[UUID, list[tuple[UUID, str, int]]]:
    picks = (
        select(func.count())
        .select_from(Label)
        .where(
            Label.comparison_id == ComparisonSample.comparison_id,
            Label.chosen_sample_id == ComparisonSample.sample_id,
            Label.verdict == Verdict.BEST,
            is_current(),
        )
        .correlate(ComparisonSample)
        .scalar_subquery()
    )
    query = (
        select(ComparisonSample.comparison_id, Sample.id, Sample.text, picks)
        .join(Sample, Sample.id == ComparisonSample.sample_id)
        .where(ComparisonSample.comparison_id.in_(comparison_ids))
        .order_by(ComparisonSample.comparison_id, ComparisonSample.slot)
    )
    found: dict[UUID, list[tuple[UUID, str, int]]] = {one: [] for one in comparison_ids}
    for comparison_id, sample_id, text, picked in session.execute(query):
        found[comparison_id].append((sample_id, text, picked))
    return found
