"""How often somebody may try: sign-ins, counted in PostgreSQL for all web processes; labels, counted in each.

Sign-ins are few and a guesser must not gain from several web processes, a restart or a dead broker, so they are counted
where the passwords lie. Labels are many and their limit is against a program that has lost its way, so counting them
costs no trip to anywhere.
"""

import hashlib
import time
from collections import Counter
from datetime import timedelta
from threading import Lock
from uuid import UUID

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter
from sqlalchemy import Engine, case, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from app.errors import TooManyError
from app.models import RateLimit

TRIES_PER_PERSON = RateLimitItemPerMinute(10, 15)
"""For one name from one address."""
TRIES_PER_NAME = RateLimitItemPerHour(100)
"""For one name from anywhere: many machines that guess together. Whoever guesses can shut its owner out of passwords
for an hour, but neither out of sessions nor out of links."""
TRIES_PER_ADDRESS = RateLimitItemPerMinute(300, 15)
"""From one address, which may be a whole office."""


MINUTE = 60.0


class PostgresStorage(Storage):
    """Counters of `limits` in a table, each step a transaction of its own: a refused request must count too."""

    STORAGE_SCHEME = ["prefloop+postgresql"]  # noqa: RUF012

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine

    @property
    def base_exceptions(self) -> type[Exception]:
        """What a step may raise."""
        return SQLAlchemyError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count one more within a window of `expiry` seconds that begins with its first; the new count."""
        now = func.clock_timestamp()
        over = RateLimit.expires_at <= now
        fresh = now + timedelta(seconds=expiry)
        step = insert(RateLimit).values(key=key, count=amount, expires_at=fresh)
        step = step.on_conflict_do_update(
            index_elements=[RateLimit.key],
            set_={
                "count": case((over, amount), else_=RateLimit.count + amount),
                "expires_at": case((over, fresh), else_=RateLimit.expires_at),
            },
        )
        with self.engine.begin() as connection:
            count: int = connection.execute(step.returning(RateLimit.count)).scalar_one()
            if count == amount:  # a window began: as good a moment as any to forget those that are over
                connection.execute(delete(RateLimit).where(over, RateLimit.key != key))
        return count

    def get(self, key: str) -> int:
        """The count in the current window."""
        query = select(RateLimit.count).where(RateLimit.key == key, RateLimit.expires_at > func.clock_timestamp())
        with self.engine.connect() as connection:
            return connection.execute(query).scalar() or 0

    def get_expiry(self, key: str) -> float:
        """When the current window ends, in seconds since 1970 by this process's clock."""
        left = func.extract("epoch", RateLimit.expires_at - func.clock_timestamp())
        with self.engine.connect() as connection:
            seconds = connection.execute(select(left).where(RateLimit.key == key)).scalar()
        return time.time() + max(0.0, float(seconds or 0.0))

    def check(self) -> bool:
        """Whether the table answers."""
        try:
            self.get("")
        except SQLAlchemyError:
            return False
        return True

    def reset(self) -> int:
        """Forget everything; how many counters there were."""
        with self.engine.begin() as connection:
            return connection.execute(delete(RateLimit)).rowcount

    def clear(self, key: str) -> None:
        """Forget one counter."""
        with self.engine.begin() as connection:
            connection.execute(delete(RateLimit).where(RateLimit.key == key))


class Limiter:
    """The limits of one web process.

    Args:
        engine: where sign-ins are counted.
        labels_per_minute: requests of one labeler that change something.
    """

    def __init__(self, engine: Engine, *, labels_per_minute: int) -> None:
        self._sign_ins = FixedWindowRateLimiter(PostgresStorage(engine))
        self._labels = _Minutes(labels_per_minute)

    def sign_in(self, address: str, name: str | None = None) -> None:
        """Count a try to sign in before it is looked at, so that tries at the same moment all count.

        Args:
            name: as typed; None: nothing that could be guessed, but work that must not be had without end. Links and
                tokens are not counted at all: nobody guesses 256 bits.
        Raises: TooManyError.
        """
        wanted: list[tuple[RateLimitItem, tuple[str, ...]]] = [(TRIES_PER_ADDRESS, (address,))]
        if name is not None:
            wanted += [(TRIES_PER_PERSON, (name, address)), (TRIES_PER_NAME, (name,))]
        for item, identifiers in wanted:
            _hit(self._sign_ins, item, *identifiers)

    def signed_in(self, address: str, name: str) -> None:
        """Forget the tries of a person who got the password right in the end."""
        self._sign_ins.clear(TRIES_PER_PERSON, *_hashed(name, address))

    def label(self, account_id: UUID) -> None:
        """Count a change by a labeler. Raises: TooManyError."""
        self._labels.hit(account_id)


class _Minutes:
    """So many a minute of each account, in this process.

    The storage in memory of `limits` starts a thread to forget a key, for nearly every label.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._ends = 0.0
        self._counts: Counter[UUID] = Counter()

    def hit(self, account_id: UUID) -> None:
        """Count one. Raises: TooManyError."""
        now = time.monotonic()
        with self._lock:
            if now >= self._ends:
                self._ends, self._counts = now + MINUTE, Counter()
            self._counts[account_id] += 1
            count, left = self._counts[account_id], self._ends - now
        if count > self._most:
            raise _too_many(left)


def _hit(limiter: FixedWindowRateLimiter, item: RateLimitItem, *identifiers: str) -> None:
    hashed = _hashed(*identifiers)
    if limiter.hit(item, *hashed):
        return
    raise _too_many(limiter.get_window_stats(item, *hashed).reset_time - time.time())


def _too_many(left: float) -> TooManyError:
    seconds = max(1, round(left))
    return TooManyError(f"Too many tries: wait {_spoken(seconds)}.", retry_seconds=seconds)


def _hashed(*identifiers: str) -> tuple[str, ...]:
    """People type passwords into the field for the name: what is counted is not kept as typed."""
    return tuple(hashlib.sha256(word.encode()).hexdigest()[:32] for word in identifiers)


def _spoken(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{round(seconds / 60)} minutes"
