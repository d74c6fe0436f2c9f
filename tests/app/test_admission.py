"""What every request asks first; whom secrets let in is tested with the accounts."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app import accounts, admission, leasing
from app.db import SessionFactory, session_scope
from app.models import Role, Scope
from tests.factories import make_account


def test_a_visitor_is_known_by_cookie_and_by_token(session_factory: SessionFactory) -> None:
    with session_scope(session_factory) as session:
        ada = make_account(session, role=Role.RESEARCHER)
        cookie = accounts.open_session(session, ada.id, days=1)
        token = accounts.issue_token(session, ada.id, "laptop", scopes=[Scope.LABEL])
    with session_scope(session_factory) as session:
        came = admission.of_session(session, cookie, idle_days=7)
        assert came is not None
        assert (came.id, came.role, came.scopes) == (ada.id, Role.RESEARCHER, frozenset(Scope))
        assert came.session_id is not None
        other = admission.of_token(session, token)
        assert other == (ada.id, Role.RESEARCHER, frozenset({Scope.LABEL}), None)


def test_a_locked_visitor_works_alone(session_factory: SessionFactory) -> None:
    with session_scope(session_factory) as session:
        cookie = accounts.open_session(session, make_account(session).id, days=1)
    with session_scope(session_factory) as first:
        ada = admission.of_session(first, cookie, idle_days=None, lock=True)
        assert ada is not None
        leasing.lock_labeler(first, ada.id)
        with session_factory() as second:
            second.execute(text("set local lock_timeout = '100ms'"))
            with pytest.raises(OperationalError):
                leasing.lock_labeler(second, ada.id)
