"""What every table shares: naming of constraints, ids, times."""

import os
import time
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


def id_by_time() -> UUID:
    """A UUID of version 7, as PostgreSQL's `uuidv7()` makes them (RFC 9562, section 5.7)."""
    milliseconds = time.time_ns() // 1_000_000
    chance = int.from_bytes(os.urandom(10))
    number = milliseconds << 80 | chance
    number = number & ~(0xF << 76) | 7 << 76
    return UUID(int=number & ~(0x3 << 62) | 0x2 << 62)


class Keyed:
    """An opaque id, made here so that rows can name each other before they are written.

    It is random, for it is sent to labelers: who made a sample, and whether a comparison is gold, must not show.
    """

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)


class KeyedByTime:
    """An id that begins with the time, so that new rows lie side by side in the indexes of big tables."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=id_by_time)


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
