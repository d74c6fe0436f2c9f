"""What lets people in, and what no longer does."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app import accounts
from app.db import SessionFactory, session_scope
from app.errors import ConflictError, DomainError, InvalidError, NotFoundError
from app.models import ApiToken, Invite, Role, WebSession
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


def test_a_session_ends_by_signing_out_or_by_time(session: Session) -> None:
    ada = make_account(session)
    first, second = (accounts.open_session(session, ada.id, days=1) for _ in range(2))
    assert accounts.account_of_session(session, first) is ada
    accounts.close_session(session, first)
    assert accounts.account_of_session(session, first) is None
    assert accounts.account_of_session(session, second) is ada
    session.execute(text("update web_session set expires_at = now() - interval '1 second'"))
    assert accounts.account_of_session(session, second) is None


def test_a_token_works_until_revoked(session: Session) -> None:
    ada = make_account(session)
    token = accounts.issue_token(session, ada.id, "laptop")
    assert accounts.account_of_token(session, token) is ada
    assert accounts.account_of_token(session, token + "x") is None
    session.execute(text("update api_token set revoked_at = now()"))
    assert accounts.account_of_token(session, token) is None


def test_a_disabled_account_is_shut_out_everywhere(session: Session) -> None:
    ada = make_account(session)
    link = accounts.invite(session, ada.id, days=1)
    cookie = accounts.open_session(session, ada.id, days=1)
    token = accounts.issue_token(session, ada.id, "laptop")
    ada.disabled_at = session.scalar(select(func.now()))
    session.flush()
    assert accounts.account_of_session(session, cookie) is None
    assert accounts.account_of_token(session, token) is None
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
