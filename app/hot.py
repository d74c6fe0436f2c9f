"""The statements that a labeler waits for, as SQL.

Everything else is SQLAlchemy's. These few run with every lease and every label, where building an expression and its
row objects took several times as long as PostgreSQL took to answer. So each is one text, and a request runs a few.
"""

from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, TextClause, text
from sqlalchemy.orm import Session
from sqlalchemy.orm.util import identity_key

from app.errors import NotFoundError
from app.models import Assignment, Comparison, Verdict
from app.usable import QUEUED

MOST_LEASES = 8
"""Per labeler and request."""
LOCK_LABELER = text("select id from account where id = :labeler for no key update")
STANDING = text("""
    select run.phase, run.hparams -> 'collection' as collection, today.answers as today, always.answers as always,
        run.labels_usable, cast(run.hparams -> 'schedule' ->> 'total_labels' as integer) as goal,
        (select reason from andon where run_id = run.id and released_at is null) as cord,
        exists (select from exclusion
                where run_id = run.id and labeler_id = :labeler and lifted_at is null) as excluded,
        array(select assignment.id from assignment join comparison on comparison.id = assignment.comparison_id
              where assignment.labeler_id = :labeler and assignment.state = 'leased'
              and comparison.run_id = run.id and comparison.state = 'ready' order by assignment.created_at) as held
    from run,
        lateral (select coalesce(sum(answers), 0) as answers from tally
                 where run_id = run.id and labeler_id = :labeler) always,
        lateral (select coalesce(sum(answers), 0) as answers from tally where run_id = run.id
                 and labeler_id = :labeler and day = (clock_timestamp() at time zone 'UTC')::date) today
    where run.id = :run
""")
FREE = f"""
    run_id = :run and state = 'ready' and purpose in ({", ".join(f"'{purpose.value}'" for purpose in QUEUED)})
    and answers + leased < wanted
    and not exists (select from assignment
                    where comparison_id = comparison.id and labeler_id = :labeler and state = 'leased')
    and not exists (select from label where comparison_id = comparison.id and labeler_id = :labeler
                    and verdict <> 'undone' and not exists
                        (select from label later where later.comparison_id = comparison.id
                         and later.labeler_id = :labeler and later.revision > label.revision))
"""
"""Condition on `comparison`: waits in the queue, wants more answers, and not yet one of this labeler."""
# The count stands in the text: with a parameter PostgreSQL would plan for a tenth of the queue.
LEND = {
    count: text(f"""
        with free as materialized (
            select id, prompt_id, promotion, created_at from comparison where {FREE}
            order by promotion desc, created_at limit {count} for no key update skip locked
        ), lent as (
            update comparison set leased = comparison.leased + 1 from free where comparison.id = free.id
        ), made as (
            insert into assignment (id, comparison_id, labeler_id, state, shown, expires_at)
            select gen_random_uuid(), id, :labeler, 'leased',
                array(select sample_id from comparison_sample where comparison_id = free.id order by random()),
                clock_timestamp() + make_interval(secs => :seconds)
            from free order by promotion desc, created_at
            returning id, comparison_id, shown, expires_at, created_at
        )
        select made.id, made.comparison_id, made.expires_at, prompt.text, made.shown,
            array(select sample.text from unnest(made.shown) with ordinality shown (id, place)
                  join sample on sample.id = shown.id order by shown.place) as texts
        from made join free on free.id = made.comparison_id join prompt on prompt.id = free.prompt_id
        order by made.created_at, made.id
    """)
    for count in range(1, MOST_LEASES + 1)
}
FIND = text("""
    select comparison.id, comparison.run_id, comparison.wanted, comparison.answers,
        lent.id as assignment_id, lent.shown,
        mine.id as before_id, mine.revision as before_revision, mine.verdict as before,
        keyed.id as keyed_id, keyed.revision as keyed_revision, keyed.comparison_id as keyed_comparison,
        exists (select from exclusion where run_id = comparison.run_id and labeler_id = :labeler
                and lifted_at is null) as excluded
    from comparison
        left join lateral (select id, shown from assignment where comparison_id = comparison.id
                           and labeler_id = :labeler order by created_at desc limit 1) lent on true
        left join lateral (select id, revision, verdict from label where comparison_id = comparison.id
                           and labeler_id = :labeler order by revision desc limit 1) mine on true
        left join lateral (select id, revision, comparison_id from label where labeler_id = :labeler
                           and idempotency_key = :key) keyed on true
    where comparison.id = :comparison for no key update of comparison
""")
WRITE = text("""
    with written as (
        insert into label (id, comparison_id, labeler_id, assignment_id, revision, verdict, chosen_sample_id,
            idempotency_key, milliseconds, reason, strength, guideline_id, surplus)
        values (:id, :comparison, :labeler, :assignment, :revision, :verdict, :choice, :key, :milliseconds, :reason,
            :strength, :guideline, :surplus)
        returning created_at
    ), ended as (
        update assignment set state = 'answered' where id = :assignment and state = 'leased' returning id
    ), ended_late as (
        update assignment set state = 'answered' where id = :assignment and state = 'expired'
    ), tallied as (
        insert into tally (run_id, labeler_id, day, answers)
        select :run, :labeler, (created_at at time zone 'UTC')::date, 1 from written where :closing
        on conflict (run_id, labeler_id, day) do update set answers = tally.answers + 1
    )
    update comparison set
        leased = leased - (select count(*) from ended),
        answers = answers + :counted,
        state = case when state = 'ready' and :counted = 1 and answers + 1 = wanted then 'labeled' else state end,
        closed_at = case when state = 'ready' and :counted = 1 and answers + 1 = wanted then clock_timestamp()
                    else closed_at end
    where id = :comparison
""")


class Standing(NamedTuple):
    """A labeler in a run."""

    phase: str
    collection: dict[str, Any] | None
    """Hyperparameters, as stored."""
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


def rows(session: Session, statement: TextClause, **values: Any) -> list[Any]:
    """What a statement finds, after what the session still holds back was written."""
    session.flush()
    connection: Connection = session.connection()
    return list(connection.execute(statement, values))


def changed(session: Session, comparison_ids: list[UUID], assignment_ids: list[UUID]) -> None:
    """Let the session read these rows again where it holds them: a statement here changed them."""
    for model, ids in ((Comparison, comparison_ids), (Assignment, assignment_ids)):
        for id_ in ids:
            held = session.identity_map.get(identity_key(model, id_))
            if held is not None:
                session.expire(held)
