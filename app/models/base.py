"""What every table shares: naming of constraints, ids, times."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import DateTime, Enum, MetaData, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Base of all tables. Times are `timestamptz`, dictionaries are JSONB."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {datetime: DateTime(timezone=True), dict[str, Any]: JSONB}  # noqa: RUF012


class Keyed:
    """An opaque id, made here so that rows can name each other before they are written."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)


class Dated:
    """When the row was written, by PostgreSQL's clock alone: workers' clocks differ."""

    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


def enum_column(kind: type[StrEnum]) -> Enum:
    """A text column with a check constraint, so that adding a value is an ordinary migration."""
    return Enum(
        kind, native_enum=False, create_constraint=True, length=32, name=kind.__name__.lower(), values_callable=_values
    )


def _values(kind: type[StrEnum]) -> list[str]:
    return [member.value for member in kind]
