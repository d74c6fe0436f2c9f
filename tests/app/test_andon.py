"""The cord: pulled once, released once, remembered for good."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import andon, jobs
from app.db import SessionFactory, session_scope
from app.errors import ConflictError, InvalidError, NotFoundError
from app.models import Andon, Audit, Role
from tests.factories import make_account, make_run


def test_pull_and_release(session: Session) -> None:
    run, ada = make_run(session), make_account(session)
    grace = make_account(session, "Grace", Role.RESEARCHER)
    assert andon.pulled(session, run.id) is None
    pull = andon.pull(session, run.id, ada.id, " only gibberish ")
    assert andon.pulled(session, run.id) is pull
    assert (pull.reason, pull.pulled_by_id) == ("only gibberish", ada.id)
    released = andon.release(session, run.id, grace.id, "sign was flipped")
    assert andon.pulled(session, run.id) is None
    assert (released.id, released.released_by_id, released.note) == (pull.id, grace.id, "sign was flipped")
    actions = session.execute(select(Audit.action, Audit.actor_id).order_by(Audit.created_at)).all()
    assert actions == [("andon.pulled", ada.id), ("andon.released", grace.id)]


def test_a_second_pull_is_the_first_one(session: Session) -> None:
    run, ada = make_run(session), make_account(session)
    first = andon.pull(session, run.id, ada.id, "gibberish")
    assert andon.pull(session, run.id, None, "KL left its band").id == first.id
    assert session.scalar(select(func.count()).select_from(Audit)) == 1


def test_the_plant_pulls_by_itself_and_the_run_hears_of_it(session: Session) -> None:
    run = make_run(session)
    assert andon.pull(session, run.id, None, "KL left its band").pulled_by_id is None
    assert [name for name, _, _ in jobs.take_messages(session)] == [jobs.ADVANCE_RUN]


def test_it_can_be_pulled_again_after_a_release(session: Session) -> None:
    run, ada = make_run(session), make_account(session)
    first = andon.pull(session, run.id, ada.id, "gibberish")
    andon.release(session, run.id, ada.id, "fixed")
    assert andon.pull(session, run.id, ada.id, "gibberish again").id != first.id


def test_two_pulls_at_once_are_one(session_factory: SessionFactory) -> None:
    with session_scope(session_factory) as session:
        run, ada = make_run(session), make_account(session)

    def pull(number: int) -> UUID:
        with session_scope(session_factory) as session:
            return andon.pull(session, run.id, ada.id, f"reason {number}").id

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(pull, range(8)))) == 1
    with session_factory() as session:
        assert session.scalar(select(func.count()).select_from(Andon)) == 1


def test_refusals(session: Session) -> None:
    run, ada = make_run(session), make_account(session)
    with pytest.raises(InvalidError):
        andon.pull(session, run.id, ada.id, "  ")
    with pytest.raises(NotFoundError):
        andon.pull(session, uuid4(), ada.id, "why")
    with pytest.raises(ConflictError):
        andon.release(session, run.id, ada.id, "nothing to release")
