"""How well the labelers of a run label: gold, repeats, places, lengths, speed, the reward model before it learned.

Everything is counted from current labels of accounts whatever their standing, so that a page still shows why somebody
was excluded; only the reward model is held against usable ones. Whole columns are counted in PostgreSQL; intervals are
made of the counts.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Float, Select, and_, case, func, select
from sqlalchemy.orm import Session, aliased

from app import quality
from app.comparisons import CLOSING
from app.errors import NotFoundError
from app.models import (
    Account,
    Assignment,
    Comparison,
    ComparisonSample,
    Exclusion,
    Gold,
    Label,
    Purpose,
    Run,
    Sample,
    Verdict,
)
from app.quality import Share
from app.reports.accuracy import incoming_accuracy
from app.usable import QUEUED, is_current

OUTLIER = 3.5
"""A label is unusually fast or slow so many robust standard deviations of the logarithm of the time from the median of
the run. Source: Iglewicz and Hoaglin 1993."""
MAD_TO_DEVIATION = 1.4826
"""Of normal values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """How often each place on the screen was chosen, first to last."""

    chosen: tuple[Share, ...]
    p: float | None
    """Probability of counts at least as uneven if places did not matter (chi-square); None without labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelerQuality:
    """One labeler in one run, or (without id) all together."""

    labeler: UUID | None
    name: str
    answers: int
    """Best, tie or none."""
    ties: int
    none: int
    skips: int
    surplus: int
    gold: Share
    """Gold comparisons answered as their author did."""
    consistency: Share
    """Repeats answered as before."""
    reward_model: Share
    """Newest answers that were the highest score of a reward model before it saw a label of the prompt."""
    places: Places
    longest: Share
    """The longest text was chosen, where one is the longest."""
    chance: float
    """What choosing blindly would give, of gold, reward model and longest alike."""
    median_seconds: float | None
    fast: int
    """Answers unusually fast for this run."""
    slow: int
    timed: int
    """Answers whose time is known."""
    last_at: datetime | None
    excluded: str | None
    """Why they are excluded; None: they are not."""


_Person = tuple[UUID | None, str, str | None]
"""Id, name, and why excluded."""
_EVERYBODY: _Person = (None, "Everybody", None)


@dataclass(slots=True)
class _Counts:
    """What the queries found of one labeler."""

    verdicts: dict[Verdict, int]
    surplus: int = 0
    last_at: datetime | None = None
    gold: tuple[int, int] = (0, 0)
    repeats: tuple[int, int] = (0, 0)
    longest: tuple[int, int] = (0, 0)
    seconds: float | None = None
    fast: int = 0
    slow: int = 0
    timed: int = 0


def labelers(session: Session, run_id: UUID) -> tuple[LabelerQuality, ...]:
    """Everybody who answered in the run, most answers first; the first row is all of them together.

    Raises: NotFoundError without such a run.
    """
    run = session.get(Run, run_id)
    if run is None:
        raise NotFoundError("There is no such run.")
    found = session.execute(
        select(Account.id, Account.name, Exclusion.reason)
        .outerjoin(Exclusion, _excluded(run_id))
        .where(Account.id.in_(select(Label.labeler_id).join(Comparison).where(Comparison.run_id == run_id)))
    ).all()
    k = int(run.hparams["task"].get("samples_per_comparison", 4))
    counts, places = _counted(session, run_id), _places(session, run_id)
    people: list[_Person] = [_EVERYBODY, *((id_, name, reason) for id_, name, reason in found)]
    rows = [_row(session, run_id, k, person, counts, places) for person in people]
    return (rows[0], *sorted(rows[1:], key=lambda one: (-one.answers, one.name)))


def labeler(session: Session, run_id: UUID, labeler_id: UUID) -> LabelerQuality:
    """One of them. Raises: NotFoundError if they never answered in this run."""
    found = [one for one in labelers(session, run_id) if one.labeler == labeler_id]
    if not found:
        raise NotFoundError("This labeler has not answered anything in this run.")
    return found[0]


def _row(
    session: Session,
    run_id: UUID,
    k: int,
    person: _Person,
    counts: dict[UUID | None, _Counts],
    places: dict[UUID | None, list[int]],
) -> LabelerQuality:
    id_, name, excluded = person
    own = counts.get(id_) or _Counts({})
    model = incoming_accuracy(session, run_id, labeler_id=id_)
    return LabelerQuality(
        labeler=id_,
        name=name,
        answers=sum(own.verdicts.get(verdict, 0) for verdict in CLOSING),
        ties=own.verdicts.get(Verdict.TIE, 0),
        none=own.verdicts.get(Verdict.NONE, 0),
        skips=own.verdicts.get(Verdict.SKIP, 0),
        surplus=own.surplus,
        gold=quality.share(*own.gold),
        consistency=quality.share(*own.repeats),
        reward_model=quality.share(model.right, model.n),
        places=_evenness(places.get(id_, []), k),
        longest=quality.share(*own.longest),
        chance=1 / k,
        median_seconds=own.seconds,
        fast=own.fast,
        slow=own.slow,
        timed=own.timed,
        last_at=own.last_at,
        excluded=excluded,
    )


def _counted(session: Session, run_id: UUID) -> dict[UUID | None, _Counts]:
    found: dict[UUID | None, _Counts] = defaultdict(lambda: _Counts({}))
    for who, verdict, surplus, number, last in session.execute(_verdicts(run_id)):
        for one in (found[who], found[None]):
            one.verdicts[verdict] = one.verdicts.get(verdict, 0) + number
            one.surplus += surplus
            one.last_at = last if one.last_at is None else max(last, one.last_at)
    for query, name in ((_gold(run_id), "gold"), (_repeats(run_id), "repeats"), (_longest(run_id), "longest")):
        for who, hits, number in session.execute(query):
            for one in (found[who], found[None]):
                before = getattr(one, name)
                setattr(one, name, (before[0] + hits, before[1] + number))
    for speed in session.execute(_speed(run_id)):
        one_or_all, seconds, fast, slow, timed = speed
        own = found[one_or_all]
        own.seconds, own.fast, own.slow, own.timed = seconds, fast, slow, timed
    return found


def _verdicts(run_id: UUID) -> Select[UUID, Verdict, int, int, datetime]:
    surplus = func.count().filter(Label.surplus)
    return (
        select(Label.labeler_id, Label.verdict, surplus, func.count(), func.max(Label.created_at))
        .join(Comparison, Comparison.id == Label.comparison_id)
        .where(Comparison.run_id == run_id, is_current())
        .group_by(Label.labeler_id, Label.verdict)
    )


def _gold(run_id: UUID) -> Select[UUID, int, int]:
    hits = func.count().filter(Label.chosen_sample_id == Gold.sample_id)
    return (
        select(Label.labeler_id, hits, func.count())
        .join(Comparison, Comparison.id == Label.comparison_id)
        .join(Gold, Gold.comparison_id == Comparison.id)
        .where(Comparison.run_id == run_id, Comparison.purpose == Purpose.GOLD, *_answered())
        .group_by(Label.labeler_id)
    )


def _repeats(run_id: UUID) -> Select[UUID, int, int]:
    """The earlier answer is the one that stands now."""
    before, later = aliased(Label), aliased(Label)
    newest = ~(
        select(later.id)
        .where(
            later.comparison_id == before.comparison_id,
            later.labeler_id == before.labeler_id,
            later.revision > before.revision,
        )
        .exists()
    )
    chosen = Label.chosen_sample_id.is_not_distinct_from(before.chosen_sample_id)
    hits = func.count().filter(and_(Label.verdict == before.verdict, chosen))
    return (
        select(Label.labeler_id, hits, func.count())
        .join(Comparison, Comparison.id == Label.comparison_id)
        .join(
            before,
            and_(before.comparison_id == Comparison.repeat_of_id, before.labeler_id == Label.labeler_id),
        )
        .where(Comparison.run_id == run_id, *_answered(), before.verdict.in_(CLOSING), newest)
        .group_by(Label.labeler_id)
    )


def _longest(run_id: UUID) -> Select[UUID, int, int]:
    lengths = (
        select(
            func.max(func.char_length(Sample.text)).label("most"),
            func.max(case((Sample.id == Label.chosen_sample_id, func.char_length(Sample.text)))).label("chosen"),
            func.array_agg(func.char_length(Sample.text)).label("all"),
        )
        .select_from(ComparisonSample)
        .join(Sample, Sample.id == ComparisonSample.sample_id)
        .where(ComparisonSample.comparison_id == Label.comparison_id)
        .correlate(Label)
        .lateral()
    )
    alone = func.cardinality(func.array_positions(lengths.c.all, lengths.c.most)) == 1
    return (
        select(Label.labeler_id, func.count().filter(lengths.c.chosen == lengths.c.most), func.count())
        .select_from(Label)
        .join(Comparison, Comparison.id == Label.comparison_id)
        .join(lengths, alone)
        .where(*_best_of(run_id))
        .group_by(Label.labeler_id)
    )


def _speed(run_id: UUID) -> Select[UUID | None, float | None, int, int, int]:
    """By labeler, and for all together where the labeler is null."""
    time = func.ln(func.greatest(Label.milliseconds, 1)).label("time")
    timed = (
        select(Label.labeler_id, time)
        .join(Comparison, Comparison.id == Label.comparison_id)
        .where(Comparison.run_id == run_id, Label.milliseconds.is_not(None), *_answered())
        .cte("timed")
    )
    middle = select(_median(timed.c.time)).scalar_subquery()
    spread = select(_median(func.abs(timed.c.time - middle)) * MAD_TO_DEVIATION).scalar_subquery()
    far = OUTLIER * func.greatest(spread, 1e-9)
    fast, slow = timed.c.time < middle - far, timed.c.time > middle + far
    return select(
        timed.c.labeler_id,
        func.exp(_median(timed.c.time)) / 1000,
        func.count().filter(fast),
        func.count().filter(slow),
        func.count(),
    ).group_by(func.rollup(timed.c.labeler_id))


def _places(session: Session, run_id: UUID) -> dict[UUID | None, list[int]]:
    place = func.array_position(Assignment.shown, Label.chosen_sample_id)
    rows = session.execute(
        select(Label.labeler_id, place, func.count())
        .join(Comparison, Comparison.id == Label.comparison_id)
        .join(Assignment, Assignment.id == Label.assignment_id)
        .where(*_best_of(run_id))
        .group_by(Label.labeler_id, place)
    )
    found: dict[UUID | None, list[int]] = defaultdict(list)
    for who, number, count in rows:
        for one in (found[who], found[None]):
            one.extend([0] * (number - len(one)))
            one[number - 1] += count
    return found


def _evenness(counts: Iterable[int], k: int) -> Places:
    chosen = [*counts]
    chosen += [0] * (k - len(chosen))
    total = sum(chosen)
    p = None if not total else quality.chi_square_evenness(chosen)
    return Places(chosen=tuple(quality.share(count, total) for count in chosen), p=p)


def _answered() -> tuple[ColumnElement[bool], ...]:
    return (Label.verdict.in_(CLOSING), is_current())


def _best_of(run_id: UUID) -> tuple[ColumnElement[bool], ...]:
    """Choices among samples of models."""
    chosen = (Comparison.purpose.in_(QUEUED), Label.verdict == Verdict.BEST, is_current())
    return (Comparison.run_id == run_id, *chosen)


def _median(values: ColumnElement[float]) -> ColumnElement[float]:
    return func.percentile_cont(0.5, type_=Float).within_group(values)


def _excluded(run_id: UUID) -> ColumnElement[bool]:
    return and_(Exclusion.labeler_id == Account.id, Exclusion.run_id == run_id, Exclusion.lifted_at.is_(None))
