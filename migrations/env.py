"""Alembic environment. The connection comes from `app.migrating` or, on the command line, from the settings."""

from alembic import context
from sqlalchemy import Connection, create_engine

from app.models import Base
from app.settings import Settings


def run(connection: Connection) -> None:
    """Run the asked migrations in one transaction."""
    context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


connection: Connection | None = context.config.attributes.get("connection")
if connection is not None:
    run(connection)
else:
    with create_engine(Settings().need_database_url()).connect() as own:
        run(own)
        own.commit()
