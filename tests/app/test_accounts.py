"""What lets people in, and what no longer does."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app import accounts
from app.db import SessionFactory, session_scope
from app.errors import ConflictError, DomainError, ForbiddenError, InvalidError, NotFoundError
from app.models import Account, ApiToken, Invite, Role, Scope, SignInMethod, WebSession
from tests.factories import make_account


def test_a_link_works_once(session: Session) -> None:
    ada = make_account(session)
    secret = accounts.invite(session, ada.id, days=1)
    assert accounts.redeem_invite(session, secret) is ada
    with pytest.raises(ConflictError, match="has been used"):
        accounts.redeem_invite(session, secret)


def test_of_many_clicks_at_once_one_wins(session_factory: SessionFactory) -> None:
    with session_scope(session_factory) as session:
        secret = accounts.invite(session, make_account(session).id, days=1)

    def click(_: int) -> bool:
        try:
            with session_scope(session_factory) as session:
                accounts.redeem_invite(session, secret)
        except DomainError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(click, range(8))) == 1


def test_an_expired_link_is_refused(session: Session) -> None:
    secret = accounts.invite(session, make_account(session).id, days=1)
    session.execute(text("update invite set expires_at = now() - interval '1 second'"))
    with pytest.raises(ConflictError, match="has expired"):
        accounts.redeem_invite(session, secret)


def test_an_unknown_link_is_refused(session: Session) -> None:
    with pytest.raises(NotFoundError):
        accounts.redeem_invite(session, "guess")


def test_revoked_links_are_unknown_and_used_ones_stay_on_record(session: Session) -> None:
    ada = make_account(session)
    used, unused = (accounts.invite(session, ada.id, days=1) for _ in range(2))
    accounts.redeem_invite(session, used)
    accounts.revoke_invites(session, ada.id)
    with pytest.raises(NotFoundError):
        accounts.redeem_invite(session, unused)
    assert session.scalar(select(func.count()).select_from(Invite)) == 1


def owner(access: accounts.Access | None) -> Account | None:
    """Whom a secret let in."""
    return None if access is None else access.account


def test_a_session_ends_by_signing_out_or_by_time(session: Session) -> None:
    ada = make_account(session)
    first, second = (accounts.open_session(session, ada.id, days=1) for _ in range(2))
    assert owner(accounts.access_of_session(session, first)) is ada
    accounts.close_session(session, first)
    assert accounts.access_of_session(session, first) is None
    assert owner(accounts.access_of_session(session, second)) is ada
    session.execute(text("update web_session set expires_at = now() - interval '1 second'"))
    assert accounts.access_of_session(session, second) is None


def test_a_session_that_nobody_uses_ends_before_its_time(session: Session) -> None:
    cookie = accounts.open_session(session, make_account(session).id, days=14)
    session.execute(text("update web_session set last_seen_at = now() - interval '7 days 1 second'"))
    assert accounts.access_of_session(session, cookie, idle_days=7) is None
    session.execute(text("update web_session set last_seen_at = now() - interval '6 days 23 hours'"))
    assert accounts.access_of_session(session, cookie, idle_days=7) is not None
    age = "select extract(epoch from now() - last_seen_at) from web_session"
    assert float(session.execute(text(age)).scalar_one()) < 1, "looking at it is using it"


def test_seeing_somebody_waits_for_nobody(session_factory: SessionFactory) -> None:
    with session_scope(session_factory) as session:
        cookie = accounts.open_session(session, make_account(session).id, days=1)
        session.execute(text("update web_session set last_seen_at = now() - interval '1 hour'"))
    with session_scope(session_factory) as first, session_scope(session_factory) as second:
        second.execute(text("set local lock_timeout = '1s'"))
        assert accounts.access_of_session(first, cookie) is not None
        assert accounts.access_of_session(second, cookie) is not None


def test_sessions_are_listed_and_closed_one_by_one_or_all_but_this(session: Session) -> None:
    ada, eve = make_account(session), make_account(session, name="Eve")
    kept, *others = (accounts.open_session(session, ada.id, days=1, browser=f"b{n}") for n in range(4))
    foreign = accounts.open_session(session, eve.id, days=1)
    assert {one.browser for one in accounts.sessions(session, ada.id)} == {"b0", "b1", "b2", "b3"}
    (b1,) = (one.id for one in accounts.sessions(session, ada.id) if one.browser == "b1")
    assert accounts.close_sessions(session, eve.id, only=b1, actor_id=eve.id) == 0, "not hers"
    assert accounts.close_sessions(session, ada.id, only=b1, actor_id=ada.id) == 1
    here = accounts.access_of_session(session, kept)
    assert here is not None
    assert accounts.close_sessions(session, ada.id, but=here.session_id, actor_id=ada.id) == 2
    assert [accounts.access_of_session(session, cookie) for cookie in others] == [None] * 3
    assert accounts.access_of_session(session, foreign) is not None


def test_a_token_works_until_revoked_or_expired(session: Session) -> None:
    ada = make_account(session)
    token = accounts.issue_token(session, ada.id, "laptop", days=1)
    assert owner(accounts.access_of_token(session, token)) is ada
    assert accounts.access_of_token(session, token + "x") is None
    (row,) = accounts.tokens(session, ada.id)
    session.refresh(row)
    assert row.last_used_at is not None
    session.execute(text("update api_token set expires_at = now() - interval '1 second'"))
    assert accounts.access_of_token(session, token) is None
    session.execute(text("update api_token set expires_at = null"))
    accounts.revoke_token(session, ada.id, row.id, actor_id=ada.id)
    assert accounts.access_of_token(session, token) is None
    assert accounts.tokens(session, ada.id) == []


def test_nobody_revokes_the_token_of_another(session: Session) -> None:
    ada, eve = make_account(session), make_account(session, name="Eve")
    token = accounts.issue_token(session, ada.id, "laptop")
    (row,) = accounts.tokens(session, ada.id)
    with pytest.raises(NotFoundError):
        accounts.revoke_token(session, eve.id, row.id, actor_id=eve.id)
    assert accounts.access_of_token(session, token) is not None


def test_a_token_makes_none_that_may_more(session: Session) -> None:
    ada = make_account(session)
    weak = accounts.access_of_token(session, accounts.issue_token(session, ada.id, "r", scopes=[Scope.READ]))
    assert weak is not None
    assert weak.scopes == {Scope.READ}
    with pytest.raises(ForbiddenError, match="more than itself"):
        accounts.issue_token(session, ada.id, "x", scopes=[Scope.READ, Scope.LABEL], granted_by=weak)
    accounts.issue_token(session, ada.id, "x", scopes=[Scope.READ], granted_by=weak)
    with pytest.raises(InvalidError):
        accounts.issue_token(session, ada.id, "nothing", scopes=[])


def test_a_browser_signed_in_with_a_token_may_no_more_and_ends_with_it(session: Session) -> None:
    ada = make_account(session)
    secret = accounts.issue_token(session, ada.id, "r", scopes=[Scope.READ])
    (row,) = accounts.tokens(session, ada.id)
    cookie = accounts.open_session(session, ada.id, days=1, method=SignInMethod.TOKEN, token_id=row.id)
    access = accounts.access_of_session(session, cookie)
    assert access is not None
    assert access.scopes == {Scope.READ}
    accounts.revoke_token(session, ada.id, row.id, actor_id=ada.id)
    assert accounts.access_of_session(session, cookie) is None
    assert accounts.access_of_token(session, secret) is None


def test_a_disabled_account_is_shut_out_everywhere(session: Session) -> None:
    ada = make_account(session)
    link = accounts.invite(session, ada.id, days=1)
    cookie = accounts.open_session(session, ada.id, days=1)
    token = accounts.issue_token(session, ada.id, "laptop")
    ada.disabled_at = session.scalar(select(func.now()))
    session.flush()
    assert accounts.access_of_session(session, cookie) is None
    assert accounts.access_of_token(session, token) is None
    with pytest.raises(NotFoundError, match="disabled"):
        accounts.redeem_invite(session, link)


def test_no_secret_is_stored(session: Session) -> None:
    ada = make_account(session)
    link = accounts.invite(session, ada.id, days=1)
    cookie = accounts.open_session(session, ada.id, days=1)
    token = accounts.issue_token(session, ada.id, "laptop")
    stored = [session.scalar(select(table.token_hash)) for table in (Invite, WebSession, ApiToken)]
    assert set(stored).isdisjoint({link, cookie, token})


def test_the_ladder_of_roles(session: Session) -> None:
    may = [[accounts.may(make_account(session, role=own), asked) for asked in Role] for own in Role]
    assert may == [[True, False, False], [True, True, False], [True, True, True]]


def test_a_person_has_a_name(session: Session) -> None:
    assert accounts.create_account(session, "  Grace ", Role.LABELER).name == "Grace"
    with pytest.raises(InvalidError):
        accounts.create_account(session, "  ", Role.LABELER)
