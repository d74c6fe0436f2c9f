"""Bring a database to the newest schema, and back. The migrations travel with the package."""

import importlib.resources
from collections.abc import Callable

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

Action = Callable[[Config, str], None]

LOCK = 5_719_040_118
"""Advisory lock: of several processes that start together one migrates, the others wait."""


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Migrate up to `revision` in one transaction."""
    _run(engine, command.upgrade, revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Migrate down to `revision` (`base` removes everything) in one transaction."""
    _run(engine, command.downgrade, revision)


def config() -> Config:
    """Alembic's configuration, without an ini file."""
    made = Config()
    made.set_main_option("script_location", str(importlib.resources.files("migrations")))
    return made


def _run(engine: Engine, action: Action, revision: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": LOCK})
        made = config()
        made.attributes["connection"] = connection
        action(made, revision)
