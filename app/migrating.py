"""Bring a database to the newest schema, and back. The migrations travel with the package."""

import importlib.resources
from collections.abc import Callable

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import URL, Connection, Engine, make_url, text

from app.errors import ConflictError

Action = Callable[[Config, str], None]
UP: Action = command.upgrade
DOWN: Action = command.downgrade

LOCK = 5_719_040_118
"""Advisory lock: of several processes that start together one migrates, the others wait."""
OLDEST_SERVER = 18
"""PostgreSQL's version that brought `uuidv7()`, from which leases get their ids."""


def require_server(version: tuple[int | str, ...] | None) -> None:
    """Refuse a server that Prefloop cannot work with.

    Args:
        version: as SQLAlchemy's dialect found it, such as (18, 1).
    Raises: ConflictError.
    """
    if version and int(version[0]) < OLDEST_SERVER:
        found = ".".join(map(str, version))
        raise ConflictError(
            f"The database is PostgreSQL {found}, but Prefloop needs {OLDEST_SERVER} or later: upgrade it, or set "
            "PREFLOOP_DATABASE_URL to one that is. Nothing was changed."
        )


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Migrate up to `revision` in one transaction."""
    _run(engine, UP, revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Migrate down to `revision` (`base` removes everything) in one transaction."""
    _run(engine, DOWN, revision)


def within(connection: Connection, action: Action, revision: str) -> None:
    """Go `UP` or `DOWN` to `revision` as a part of the transaction of `connection`.

    Raises: ConflictError if the server is too old.
    """
    require_server(connection.dialect.server_version_info)
    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": LOCK})
    made = config()
    made.attributes["connection"] = connection
    action(made, revision)


def newest() -> str:
    """The revision that this version works with."""
    return str(ScriptDirectory.from_config(config()).get_current_head())


def knows(revision: str) -> bool:
    """Whether this version has a way from `revision` to its own."""
    return revision in {script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()}


def let_in(engine: Engine, site_url: str) -> None:
    """Give the role of `site_url` all that the site needs and no more; make it if there is none.

    It may read and write every table, but only add to the audit log, and not change the schema. Call it after
    each upgrade: rights are per table.

    Args:
        engine: as the role that owns the tables; if both are the same there is nothing to do.
    """
    site = make_url(site_url)
    with engine.begin() as connection:
        if site.username in (None, connection.scalar(text("select current_user"))):
            return
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": LOCK})
        known = connection.scalar(text("select 1 from pg_roles where rolname = :name"), {"name": site.username})
        driver = connection.connection.driver_connection
        for statement in _rights(site, alter=bool(known)):
            connection.exec_driver_sql(statement.as_string(driver))


def _rights(site: URL, *, alter: bool) -> list[sql.Composed]:
    role = sql.Identifier(str(site.username))
    verb = sql.SQL("alter role" if alter else "create role")
    password = sql.SQL("password {}").format(sql.Literal(str(site.password))) if site.password else sql.SQL("")
    return [
        sql.SQL("{} {} login nosuperuser nocreatedb nocreaterole {}").format(verb, role, password),
        sql.SQL("grant usage on schema public to {}").format(role),
        sql.SQL("revoke create on schema public from {}").format(role),
        sql.SQL("grant select, insert, update, delete on all tables in schema public to {}").format(role),
        sql.SQL("grant usage, select on all sequences in schema public to {}").format(role),
        sql.SQL("revoke update, delete on audit from {}").format(role),
        sql.SQL("revoke insert, update, delete on alembic_version from {}").format(role),
    ]


def config() -> Config:
    """Alembic's configuration, without an ini file."""
    made = Config()
    made.set_main_option("script_location", str(importlib.resources.files("migrations")))
    return made


def _run(engine: Engine, action: Action, revision: str) -> None:
    with engine.begin() as connection:
        within(connection, action, revision)
