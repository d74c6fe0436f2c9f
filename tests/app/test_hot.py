"""Statements that go straight to the driver: in the session's transaction, with SQLAlchemy's errors."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from app import hot
from app.db import SessionFactory, session_scope
from app.models import Account, Role
from tests.factories import make_account

NAMES = "select name from account order by name"


def test_they_see_what_the_session_holds_back_and_end_with_its_transaction(session: Session) -> None:
    session.add(Account(name="Ada", role=Role.LABELER))
    assert hot.rows(session, NAMES) == [("Ada",)]
    hot.write(session, "update account set name = %(name)s", name="Eve")
    session.rollback()
    assert hot.rows(session, NAMES) == []


def test_a_broken_connection_is_an_error_of_sqlalchemy_and_leaves_the_pool(session_factory: SessionFactory) -> None:
    def work_while_it_breaks() -> None:
        with session_scope(session_factory) as session:
            (mine,) = hot.rows(session, "select pg_backend_pid()")
            with session_factory() as other:
                other.execute(text("select pg_terminate_backend(:pid, 5000)"), {"pid": mine[0]})
            hot.rows(session, "select 1")

    with pytest.raises(OperationalError):
        work_while_it_breaks()
    with session_scope(session_factory) as session:
        assert hot.rows(session, "select 1") == [(1,)]


def test_an_error_does_not_repeat_what_somebody_typed(session: Session) -> None:
    ada = make_account(session)
    with pytest.raises(IntegrityError) as refused:
        hot.write(session, "insert into account (id, name) values (%(id)s, %(name)s)", id=ada.id, name="my secret")
    assert "my secret" not in str(refused.value.statement)
    assert refused.value.params is None


def test_a_lock_is_remembered_for_its_transaction_alone(session: Session) -> None:
    ada, eve = make_account(session), make_account(session, name="Eve")
    session.commit()
    session.begin()
    hot.note_lock(session, ada.id)
    assert hot.holds_lock(session, ada.id)
    assert not hot.holds_lock(session, eve.id)
    session.commit()
    assert not hot.holds_lock(session, ada.id)
    session.begin()
    assert not hot.holds_lock(session, ada.id)
