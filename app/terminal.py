"""What commands of the terminal share: a transaction on the database that the settings name, or that `up` runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from app import embedded
from app.db import make_engine, make_session_factory, session_scope
from app.settings import Settings


@contextmanager
def database(settings: Settings | None = None) -> Iterator[Session]:
    """One transaction on the database of `settings`, or else on the one that `prefloop up` runs."""
    engine = make_engine(embedded.with_urls(settings or Settings()).need_database_url(), pool_size=1)
    try:
        with session_scope(make_session_factory(engine)) as session:
            yield session
    finally:
        engine.dispose()
