"""Passwords: what is too easy, what is kept, whom they let in."""

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import passwords
from app.errors import ConflictError, ForbiddenError, InvalidError
from app.models import Account
from tests.factories import make_account

GOOD = "copper lantern drifts north"


@pytest.fixture
def ada(session: Session) -> Account:
    made = make_account(session)
    passwords.set_password(session, made.id, login=" Ada@Example.org", password=GOOD)
    return made


def test_the_right_password_lets_in_whatever_the_case_of_the_name(session: Session, ada: Account) -> None:
    assert ada.login == "ada@example.org"
    assert passwords.account_of_password(session, "ADA@example.org ", GOOD) is ada


@pytest.mark.parametrize(
    ("login", "password"),
    [("ada@example.org", GOOD + " "), ("ada@example.org", GOOD.upper()), ("ada@example.org", ""), ("eve", GOOD)],
)
def test_anything_else_is_refused_in_the_same_words(session: Session, ada: Account, login: str, password: str) -> None:
    assert ada.password_hash
    with pytest.raises(ForbiddenError, match=r"^This user name and password do not belong together\.$"):
        passwords.account_of_password(session, login, password)


def test_a_disabled_account_and_one_without_a_password_are_refused_alike(session: Session, ada: Account) -> None:
    ada.disabled_at = session.scalar(select(func.now()))
    nobody = make_account(session, name="Grace")
    nobody.login = "grace"
    session.flush()
    for login in ("ada@example.org", "grace"):
        with pytest.raises(ForbiddenError, match="do not belong together"):
            passwords.account_of_password(session, login, GOOD)
    assert not passwords.is_correct(nobody, "the password of nobody")


def test_only_an_argon2id_hash_is_kept(ada: Account) -> None:
    assert ada.password_hash is not None
    assert ada.password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert GOOD not in ada.password_hash


@pytest.mark.parametrize(
    "easy",
    [
        "",
        "short",
        "correcthors",
        "password12345",
        "qwertyuiop123",
        "aaaaaaaaaaaaaaaaaaaa",
        "1234567890123",
        "x" * 201,
        "prefloop2026",
        "countess-lovelace1",
    ],
)
def test_what_is_easy_to_guess_is_refused(easy: str) -> None:
    with pytest.raises(InvalidError):
        passwords.check_strength(easy, about=("ada", "Countess Lovelace", "countess-lovelace"))


@pytest.mark.parametrize(
    "good",
    [
        GOOD,
        "kT9#vQ2!mZ",
        "Überraschung im Gewächshaus",
        "🦊 otter quilt basalt",
        " ".join(f"{n * n} sheep" for n in range(7, 24)),
    ],
)
def test_kinds_of_characters_do_not_matter_and_long_ones_are_taken(session: Session, good: str) -> None:
    made = make_account(session)
    passwords.set_password(session, made.id, login="grace", password=good)
    assert passwords.is_correct(made, good)
    assert not passwords.is_correct(made, good[:-1])


def test_a_user_name_belongs_to_one(session: Session, ada: Account) -> None:
    eve = make_account(session, name="Eve")
    with pytest.raises(ConflictError, match="user name"):
        passwords.set_password(session, eve.id, login="ADA@example.org", password=GOOD)
    session.refresh(eve)
    assert eve.login is None
    assert ada.login is not None
    for bad in ("ab", "with space", "x" * 101, "nul\0l"):
        with pytest.raises(InvalidError, match="user name"):
            passwords.set_password(session, eve.id, login=bad, password=GOOD)
