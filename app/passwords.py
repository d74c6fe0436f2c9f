"""Passwords: what is accepted, how it is kept, who it lets in.

Kept as Argon2id with 19 MiB, two passes and one lane, OWASP's first choice for a server that checks several at once.
Accepted by how hard it is to guess (zxcvbn, which knows the common ones), not by kinds of characters; NIST SP 800-63B
section 3.1.1 says why.
"""

from uuid import UUID

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from zxcvbn import zxcvbn

from app import audit
from app.errors import ConflictError, ForbiddenError, InvalidError
from app.models import Account

LEAST_CHARACTERS = 10
MOST_CHARACTERS = 200
LEAST_SCORE = 3
"""Of zxcvbn's 0 to 4: at least 10^8 guesses."""
LOOKED_AT = 72
"""Characters that zxcvbn looks at; its time grows with the square."""

_HASHER = PasswordHash((Argon2Hasher(memory_cost=19 * 1024, time_cost=2, parallelism=1),))
_NOBODY = _HASHER.hash("the password of nobody")
"""Checked where there is no such account, so that the time taken does not tell which names exist."""


def login_of(text: str) -> str:
    """A name to sign in with, as it is kept.

    Raises: InvalidError unless it has 3 to 100 printable characters and no space.
    """
    login = text.strip().casefold()
    if not 3 <= len(login) <= 100 or not login.isprintable() or any(map(str.isspace, login)):
        raise InvalidError("Choose a user name of 3 to 100 characters without spaces; an e-mail address is fine.")
    return login


def set_password(session: Session, account_id: UUID, *, login: str, password: str) -> None:
    """Give an account a name and a password to sign in with. Who may do so is decided at the door.

    Raises: InvalidError if the password is too short, too long or too easy; ConflictError if the name is taken.
    """
    account = session.get_one(Account, account_id)
    chosen = login_of(login)
    check_strength(password, about=(chosen, account.name))
    hashed = _HASHER.hash(password)
    try:
        with session.begin_nested():
            account.login, account.password_hash = chosen, hashed
    except IntegrityError as error:
        raise ConflictError("Somebody else has this user name: choose another one.") from error
    audit.record(session, account_id, "account.password_set")


def check_strength(password: str, *, about: tuple[str, ...]) -> None:
    """Raises: InvalidError that says what is wrong with the password.

    Args:
        about: words that belong to its owner and are therefore easy to guess.
    """
    if not LEAST_CHARACTERS <= len(password) <= MOST_CHARACTERS:
        raise InvalidError(f"A password has {LEAST_CHARACTERS} to {MOST_CHARACTERS} characters.")
    found = zxcvbn(password[:LOOKED_AT], user_inputs=["prefloop", *about])
    if found["score"] < LEAST_SCORE:
        why = found["feedback"]["warning"] or "It follows a pattern that guessers try early."
        raise InvalidError(f"This password is too easy to guess. {why} Three or four unrelated words are a good one.")


def is_correct(account: Account, password: str) -> bool:
    """Whether this is the account's password; an account without one has no correct password."""
    return _HASHER.verify(password, account.password_hash or _NOBODY) and account.password_hash is not None


def note_failure(session: Session, login: str, address: str) -> None:
    """Somebody did not get in: into the audit log, without what they typed, which may be a password in a wrong field.

    How many such rows there can be is bounded by how often somebody may try.
    """
    known = session.scalar(select(Account.id).where(Account.login == login.strip().casefold()))
    audit.record(
        session, None, "account.sign_in_failed", account=None if known is None else str(known), address=address
    )


def account_of_password(session: Session, login: str, password: str) -> Account:
    """Who signs in with this name and password; hashes of older costs are renewed on the way.

    Raises: ForbiddenError, the same for an unknown name, a wrong password and a disabled account.
    """
    account = session.scalar(select(Account).where(Account.login == login.strip().casefold()))
    known = account.password_hash if account is not None else None
    correct, renewed = _HASHER.verify_and_update(password, known or _NOBODY)
    if account is None or known is None or not correct or account.disabled_at is not None:
        raise ForbiddenError("This user name and password do not belong together.")
    account.password_hash = renewed or known
    return account
