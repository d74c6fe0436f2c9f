"""The statements that a labeler waits for, as SQL for psycopg.

Everything else is SQLAlchemy's. These few run with every lease and every label, where building an expression, its
context and its row objects took several times as long as PostgreSQL took to answer. So each is one text, a request
runs a few, and they go straight to the driver's connection of the session's transaction (decision 21).
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

import psycopg
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.orm.util import identity_key

from app.brief import Brief, translation
from app.errors import NotFoundError
from app.models import Assignment, Comparison, Verdict
from app.usable import QUEUED
from app.wire import Wire

MOST_LEASES = 8
"""Per labeler and request."""
LOCK_LABELER = "select id from account where id = %(labeler)s for no key update"
STANDING = """
    select run.phase, run.hparams -> 'collection' as collection,
        coalesce(cast(run.hparams -> 'labeling' ->> 'practice' as boolean), false) as practice,
        done.today, done.always,
        run.labels_usable, cast(run.hparams -> 'schedule' ->> 'total_labels' as integer) as goal,
        (select reason from andon where run_id = run.id and released_at is null) as cord,
        exists (select from exclusion
                where run_id = run.id and labeler_id = %(labeler)s and lifted_at is null) as excluded,
        array(select id from assignment where labeler_id = %(labeler)s and state = 'leased'
              and (select run_id = run.id and state = 'ready' and purpose <> 'session'
                   from comparison where id = assignment.comparison_id)
              order by created_at) as held
    from run,
        lateral (select coalesce(sum(answers), 0) as always, coalesce(sum(answers) filter
                 (where day = (clock_timestamp() at time zone 'UTC')::date), 0) as today
                 from tally where run_id = run.id and labeler_id = %(labeler)s) done
    where run.id = %(run)s
"""
# What follows is one look into one index for each comparison that comes into question, whatever PostgreSQL knows of the
# tables. `offset 0` keeps it from joining them instead, which reads all that is there; and what is named by rows in the
# order of an index leaves it no other index, for by that of labelers it would read all that one of them ever said.
NEWEST_LABEL = """
    select {columns} from label where (comparison_id, labeler_id, revision) <= (comparison.id, %(labeler)s, 2147483647)
    order by comparison_id desc, labeler_id desc, revision desc limit 1
"""
"""Their newest label of `comparison`; of another comparison or labeler where there is none."""
MINE = "{0}.comparison_id = comparison.id and {0}.labeler_id = %(labeler)s"
OPEN = f"""
    not exists (select from assignment where comparison_id = comparison.id and labeler_id = %(labeler)s
                and state = 'leased' offset 0)
    and ({NEWEST_LABEL.format(columns=f"{MINE.format('label')} and verdict <> 'undone'")}) is not true
"""
"""Condition on `comparison`: this labeler neither holds it nor answered or skipped it."""
NOT_MET_AS_GOLD = """
    not exists (select from comparison again where again.repeat_of_id = comparison.id and again.purpose = 'gold'
                and exists (select from assignment where comparison_id = again.id
                            and labeler_id = %(labeler)s offset 0) offset 0)
"""
"""Condition on `comparison`: this labeler never got its gold copy."""
FREE = f"""
    run_id = %(run)s and state = 'ready' and purpose in ({", ".join(f"'{purpose.value}'" for purpose in QUEUED)})
    and answers + leased < wanted and {OPEN} and {NOT_MET_AS_GOLD}
"""
"""Condition on `comparison`: waits in the queue, wants more answers, and not yet one of this labeler."""
HAS_GOLD = f"""
    select from comparison where run_id = %(run)s and purpose = 'gold' and state = 'ready' and {OPEN}
        and not exists (select from assignment where comparison_id = comparison.repeat_of_id
                        and labeler_id = %(labeler)s offset 0) limit 1
"""
"""Finds a row where the labeler has gold before them."""
HAS_PAST = """
    select from label join comparison on comparison.id = label.comparison_id
    where label.labeler_id = %(labeler)s and comparison.run_id = %(run)s
        and label.created_at < now() - make_interval(mins => %(minutes)s) limit 1
"""
"""Finds a row where they answered something so long ago that it may be repeated."""
# The count stands in the text: with a parameter PostgreSQL would plan for a tenth of the queue.
LEND = {
    count: f"""
        with free as materialized (
            select id, prompt_id, promotion, created_at from comparison where {FREE}
            order by promotion desc, created_at limit {count} for no key update skip locked
        ), lent as (
            update comparison set leased = comparison.leased + 1 from free where comparison.id = free.id
        ), made as (
            insert into assignment (id, comparison_id, labeler_id, state, shown, expires_at)
            select uuidv7(), id, %(labeler)s, 'leased',
                array(select sample_id from comparison_sample where comparison_id = free.id order by random()),
                clock_timestamp() + make_interval(secs => %(seconds)s)
            from free order by promotion desc, created_at
            returning id, comparison_id, shown, expires_at, created_at
        )
        select made.id, made.comparison_id, made.expires_at, prompt.text, made.shown,
            array(select sample.text from unnest(made.shown) with ordinality shown (id, place)
                  join sample on sample.id = shown.id order by shown.place) as texts
        from made join free on free.id = made.comparison_id join prompt on prompt.id = free.prompt_id
        order by made.created_at, made.id
    """
    for count in range(1, MOST_LEASES + 1)
}
# A lease with nine tenths of its time before it is left alone: each renewal is a write to every index of the row. One
# that another request ended while the update waited for it is not among what comes back.
RENEW = """
    with renewed as (
        update assignment set expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
        where id = any(%(ids)s::uuid[]) and state = 'leased'
            and expires_at < now() + make_interval(secs => 0.9 * %(seconds)s)
        returning id, expires_at
    )
    select held.id, held.comparison_id, coalesce(renewed.expires_at, held.expires_at), prompt.text, held.shown,
        array(select sample.text from unnest(held.shown) with ordinality shown (id, place)
              join sample on sample.id = shown.id order by shown.place)
    from assignment held left join renewed on renewed.id = held.id
        join comparison on comparison.id = held.comparison_id join prompt on prompt.id = comparison.prompt_id
    where held.id = any(%(ids)s::uuid[]) and held.state = 'leased'
        and (renewed.id is not null or held.expires_at >= now() + make_interval(secs => 0.9 * %(seconds)s))
    order by held.created_at
"""
FIND = f"""
    select comparison.id, comparison.run_id, comparison.wanted, comparison.answers,
        lent.id as assignment_id, lent.shown,
        mine.id as before_id, mine.revision as before_revision, mine.verdict as before,
        keyed.id as keyed_id, keyed.revision as keyed_revision, keyed.comparison_id as keyed_comparison,
        exists (select from exclusion where run_id = comparison.run_id and labeler_id = %(labeler)s
                and lifted_at is null) as excluded
    from comparison
        left join lateral (select id, shown from assignment where comparison_id = comparison.id
                           and labeler_id = %(labeler)s order by created_at desc limit 1) lent on true
        left join lateral ({NEWEST_LABEL.format(columns="*")}) mine on {MINE.format("mine")}
        left join lateral (select * from label where (labeler_id, idempotency_key) >= (%(labeler)s, %(key)s)
                           order by labeler_id, idempotency_key limit 1) keyed
            on keyed.labeler_id = %(labeler)s and keyed.idempotency_key = %(key)s
    where comparison.id = %(comparison)s for no key update of comparison
"""
# The guideline is the newest that the labeler has read; for one who read none, as a program does, the newest there is.
WRITE = """
    with followed as (
        select id from guideline where run_id = %(run)s
        order by exists (select from acknowledgement where guideline_id = guideline.id and account_id = %(labeler)s)
            desc, version desc limit 1
    ), written as (
        insert into label (id, comparison_id, labeler_id, assignment_id, revision, verdict, chosen_sample_id,
            idempotency_key, milliseconds, reason, strength, guideline_id, surplus)
        values (%(id)s, %(comparison)s, %(labeler)s, %(assignment)s, %(revision)s, %(verdict)s, %(choice)s, %(key)s,
            %(milliseconds)s, %(reason)s, %(strength)s, (select id from followed), %(surplus)s)
        returning created_at
    ), lent as (
        select id, state from assignment where id = %(assignment)s for no key update
    ), ended as (
        update assignment set state = 'answered' from lent
        where assignment.id = lent.id and lent.state in ('leased', 'expired')
    ), tallied as (
        insert into tally (run_id, labeler_id, day, answers)
        select %(run)s, %(labeler)s, (created_at at time zone 'UTC')::date, 1 from written where %(closing)s
        on conflict (run_id, labeler_id, day) do update set answers = tally.answers + 1
    )
    update comparison set
        leased = leased - (select count(*) from lent where state = 'leased'),
        answers = answers + %(counted)s,
        trains = null,
        state = case when state = 'ready' and %(counted)s = 1 and answers + 1 = wanted then 'labeled' else state end,
        closed_at = case when state = 'ready' and %(counted)s = 1 and answers + 1 = wanted then clock_timestamp()
                    else closed_at end
    where id = %(comparison)s
"""


class Standing(NamedTuple):
    """A labeler in a run."""

    phase: str
    collection: dict[str, Any] | None
    """Hyperparameters, as stored."""
    practice: bool
    """Whether labelers of the run must practise first."""
    today: int
    """Answers that stand, since midnight UTC."""
    always: int
    labels_usable: int
    goal: int
    """Labels the run wants in all."""
    cord: str | None
    """Why the andon cord is pulled."""
    excluded: bool
    held: list[UUID]
    """Assignments whose comparisons are still wanted, oldest first."""


class Lent(NamedTuple):
    """A comparison lent, with its texts."""

    assignment_id: UUID
    comparison_id: UUID
    expires_at: datetime
    prompt: str
    shown: list[UUID]
    texts: list[str]
    """Of the samples, in the order shown."""


class Found(NamedTuple):
    """A comparison, locked, and what this labeler has to do with it."""

    id: UUID
    run_id: UUID
    wanted: int | None
    answers: int
    assignment_id: UUID | None
    shown: list[UUID] | None
    before_id: UUID | None
    """Their newest label of it."""
    before_revision: int | None
    before: Verdict | None
    keyed_id: UUID | None
    """The label of the same idempotency key."""
    keyed_revision: int | None
    keyed_comparison: UUID | None
    excluded: bool

    @property
    def wants_more(self) -> bool:
        """Whether one more answer of this labeler counts; of somebody who is excluded it never does."""
        return not self.excluded and (self.wanted is None or self.answers < self.wanted)


def standing(session: Session, labeler_id: UUID, run_id: UUID) -> Standing:
    """How a labeler stands in a run. Raises: NotFoundError without such a run."""
    found = rows(session, STANDING, labeler=labeler_id, run=run_id)
    if not found:
        raise NotFoundError("There is no such run.")
    return Standing(*found[0])


def lend(session: Session, count: int, **values: Any) -> list[Lent]:
    """At most `count` free comparisons, lent; `values` as `LEND` names them."""
    return [Lent(*found) for found in rows(session, LEND[count], **values)]


def renew(session: Session, assignment_ids: list[UUID], *, seconds: int) -> list[Lent]:
    """Leases that still run, lent for longer."""
    return [Lent(*found) for found in rows(session, RENEW, ids=assignment_ids, seconds=seconds)]


def rows(session: Session, statement: str, **values: Any) -> list[Any]:
    """What a statement finds, after what the session still holds back was written."""
    return _ask(session, statement, values)


def write(session: Session, statement: str, **values: Any) -> None:
    """Run a statement that gives nothing back, after what the session still holds back was written."""
    _ask(session, statement, values)


def note_lock(session: Session, labeler_id: UUID) -> None:
    """Remember that this transaction holds the lock of an account."""
    session.info["locked"] = (session.get_transaction(), labeler_id)


def holds_lock(session: Session, labeler_id: UUID) -> bool:
    """Whether this transaction is known to hold it."""
    return session.info.get("locked") == (session.get_transaction(), labeler_id)


def changed(session: Session, comparison_ids: list[UUID], assignment_ids: list[UUID]) -> None:
    """Let the session read these rows again where it holds them: a statement here changed them."""
    for model, ids in ((Comparison, comparison_ids), (Assignment, assignment_ids)):
        for id_ in ids:
            held = session.identity_map.get(identity_key(model, id_))
            if held is not None:
                session.expire(held)


class _Line(NamedTuple):
    """The way of a transaction to the server."""

    transaction: SessionTransaction | None
    wire: Wire
    drop: Callable[[BaseException], None]
    """What to do with a connection that broke."""


def _ask(session: Session, statement: str, values: dict[str, Any]) -> list[Any]:
    """Raises: what SQLAlchemy raises; a connection that broke leaves its pool."""
    session.flush()
    line = _line(session)
    try:
        return line.wire.ask(statement, values)
    except psycopg.Error as error:
        if line.wire.closed:
            line.drop(error)
        raise translation(error, statement) from error


def _line(session: Session) -> _Line:
    known: _Line | None = session.info.get("line")
    if known is not None and known.transaction is session.get_transaction():
        return known
    if isinstance(session, Brief):
        found = _Line(session.get_transaction(), session.wire, session.drop)
    else:
        connection = session.connection()
        wire = cast(Wire, connection.connection.driver_connection)
        found = _Line(session.get_transaction(), wire, connection.invalidate)
    session.info["line"] = found
    return found
