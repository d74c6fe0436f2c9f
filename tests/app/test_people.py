"""People: who may invite, disable and promote whom, exactly."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app import accounts, people
from app.db import SessionFactory, session_scope
from app.errors import ConflictError, DomainError, ForbiddenError, InvalidError, NotFoundError
from app.models import Account, Audit, Role
from tests.app.test_passwords import GOOD
from tests.factories import make_account

LOOKS_AFTER = {
    Role.LABELER: set(),
    Role.RESEARCHER: {Role.LABELER},
    Role.OPERATOR: {Role.LABELER, Role.RESEARCHER, Role.OPERATOR},
}

ACTS: dict[str, Callable[[Session, Account, Account], object]] = {
    "add": lambda session, me, other: people.add(session, me, "New", other.role),
    "invite": lambda session, me, other: people.invite(session, me, other.role, uses=1, days=1),
    "link": lambda session, me, other: people.fresh_link(session, me, other.id, days=1),
    "disable": lambda session, me, other: people.disable(session, me, other.id),
    "enable": lambda session, me, other: people.enable(session, me, other.id),
    "sign out": lambda session, me, other: people.sign_out(session, me, other.id),
    "change role": lambda session, me, other: people.change_role(session, me, other.id, Role.LABELER),
}


def allowed(session: Session, act: str, me: Account, other: Account) -> bool:
    try:
        with session.begin_nested():
            ACTS[act](session, me, other)
    except ForbiddenError:
        return False
    return True


@pytest.mark.parametrize("act", ACTS)
def test_the_matrix_of_roles(session: Session, act: str) -> None:
    make_account(session, name="One more", role=Role.OPERATOR)  # so that nobody is the last
    for own, expected in LOOKS_AFTER.items():
        me = make_account(session, role=own)
        seen = {role for role in Role if allowed(session, act, me, make_account(session, role=role))}
        assert seen == expected, own


def test_nobody_lifts_anybody_above_what_they_look_after(session: Session) -> None:
    researcher, labeler = make_account(session, role=Role.RESEARCHER), make_account(session)
    with pytest.raises(ForbiddenError):
        people.change_role(session, researcher, labeler.id, Role.RESEARCHER)
    assert labeler.role == Role.LABELER


def test_nobody_changes_themself_and_the_last_operator_stays(session: Session) -> None:
    first, second = (make_account(session, role=Role.OPERATOR) for _ in range(2))
    with pytest.raises(ConflictError, match="your own"):
        people.disable(session, first, first.id)
    people.change_role(session, first, second.id, Role.LABELER)
    with pytest.raises(ConflictError, match="your own"):
        people.change_role(session, first, first.id, Role.LABELER)


def test_two_operators_who_remove_each_other_leave_one(session_factory: SessionFactory) -> None:
    with session_scope(session_factory) as session:
        pair = [make_account(session, role=Role.OPERATOR).id for _ in range(2)]

    def demote(me: int) -> bool:
        try:
            with session_scope(session_factory) as session:
                actor = session.get_one(Account, pair[me])
                people.change_role(session, actor, pair[1 - me], Role.LABELER)
        except (DomainError, OperationalError):  # PostgreSQL may call the embrace a deadlock and end one of them
            return False
        return True

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(demote, range(2)))
    with session_scope(session_factory) as session:
        assert session.scalar(select(func.count()).where(Account.role == Role.OPERATOR)) == 1


def test_disabling_ends_everything_at_once_and_enabling_brings_tokens_back(session: Session) -> None:
    me, ada = make_account(session, role=Role.RESEARCHER), make_account(session)
    cookie = accounts.open_session(session, ada.id, days=1)
    token = accounts.issue_token(session, ada.id, "laptop")
    link = accounts.invite(session, ada.id, days=1)
    people.disable(session, me, ada.id)
    session.flush()
    assert accounts.access_of_token(session, token) is None
    with pytest.raises(ConflictError, match="disabled"):
        people.fresh_link(session, me, ada.id, days=1)
    people.enable(session, me, ada.id)
    session.flush()
    assert accounts.access_of_session(session, cookie) is None
    assert accounts.access_of_token(session, token) is not None
    with pytest.raises(NotFoundError):
        accounts.redeem_invite(session, link)


def test_as_many_join_by_an_invitation_as_it_is_for(session: Session) -> None:
    boss = make_account(session, role=Role.OPERATOR)
    secret = people.invite(session, boss, Role.RESEARCHER, uses=2, days=1)
    assert [one.uses_left for one in people.invitations(session)] == [2]
    joined = [people.join(session, secret, name=f"N{n}", login=f"user{n}", password=GOOD) for n in range(2)]
    assert [one.role for one in joined] == [Role.RESEARCHER] * 2
    with pytest.raises(ConflictError, match="has been used"):
        people.join(session, secret, name="N3", login="user3", password=GOOD)
    assert people.invitations(session) == []


def test_of_many_who_join_at_once_as_many_as_wanted_do(session_factory: SessionFactory) -> None:
    with session_scope(session_factory) as session:
        secret = people.invite(session, make_account(session, role=Role.OPERATOR), Role.LABELER, uses=3, days=1)

    def join(number: int) -> bool:
        try:
            with session_scope(session_factory) as session:
                people.join(session, secret, name="N", login=f"user{number}", password=GOOD)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(join, range(8))) == 3


def test_invitations_end_by_time_and_by_withdrawal(session: Session) -> None:
    boss = make_account(session, role=Role.RESEARCHER)
    late, gone = (people.invite(session, boss, Role.LABELER, uses=5, days=1) for _ in range(2))
    newest = people.invitations(session)[0]
    people.withdraw(session, boss, newest.id)
    with pytest.raises(NotFoundError):
        people.join(session, gone, name="N", login="user", password=GOOD)
    session.execute(text("update invite set expires_at = now() - interval '1 second'"))
    with pytest.raises(ConflictError, match="has expired"):
        people.join(session, late, name="N", login="user", password=GOOD)
    with pytest.raises(InvalidError):
        people.invite(session, boss, Role.LABELER, uses=0, days=1)


def test_an_invitation_signs_nobody_in_and_a_sign_in_link_lets_nobody_join(session: Session) -> None:
    boss = make_account(session, role=Role.OPERATOR)
    invitation = people.invite(session, boss, Role.OPERATOR, uses=1, days=1)
    link = accounts.invite(session, boss.id, days=1)
    with pytest.raises(NotFoundError):
        accounts.redeem_invite(session, invitation)
    with pytest.raises(NotFoundError):
        people.join(session, link, name="N", login="user", password=GOOD)


def test_every_change_is_in_the_audit_with_its_actor(session: Session) -> None:
    boss, ada = make_account(session, role=Role.OPERATOR), make_account(session)
    people.change_role(session, boss, ada.id, Role.RESEARCHER)
    people.fresh_link(session, boss, ada.id, days=1)
    people.disable(session, boss, ada.id)
    people.enable(session, boss, ada.id)
    session.flush()
    rows = session.execute(select(Audit.action, Audit.actor_id).order_by(Audit.created_at)).all()
    assert [row.action for row in rows] == [
        "account.role_changed",
        "account.link_made",
        "account.disabled",
        "account.enabled",
    ]
    assert {row.actor_id for row in rows} == {boss.id}


def test_people_are_listed_by_name_the_disabled_last(session: Session) -> None:
    boss = make_account(session, name="zoe", role=Role.RESEARCHER)
    gone = make_account(session, name="Abe")
    make_account(session, name="Bea")
    people.disable(session, boss, gone.id)
    accounts.open_session(session, boss.id, days=1)
    session.flush()
    listed = people.everybody(session)
    assert [one.name for one in listed] == ["Bea", "zoe", "Abe"]
    assert [one.last_seen_at is not None for one in listed] == [False, True, False]
