"""Rows for every table of a schema as it was at some revision, which no model describes any more."""

import re
from collections.abc import Iterator
from itertools import count
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Column, Connection, ForeignKey, MetaData, Table, insert, inspect, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import Boolean, DateTime, Float, Integer, Uuid

NULL = {"invite": {"role"}, "label_answer": {"text"}}
"""Columns that a check allows only where others are null."""
GIVEN: dict[str, dict[str, Any]] = {"practice_item": {"samples": ["this", "that"], "best": 1}}
"""Columns that a check ties to each other."""
NAMESPACE = UUID(int=7)


def fill(connection: Connection, rows: int = 3) -> dict[str, int]:
    """Put rows into every table, in as many columns as it has; how many each got.

    Every text is the first that its check allows, every foreign key names a row, circles are closed at the end.
    """
    metadata = MetaData()
    metadata.reflect(connection)
    numbers = count(1)
    made: dict[str, list[dict[str, Any]]] = {}
    later: list[tuple[Table, ForeignKey]] = []
    for table in _in_order(metadata):
        allowed = _allowed(connection, table)
        made[table.name] = []
        for _ in range(rows):
            row = _row(table, allowed, next(numbers), made, later)
            connection.execute(insert(table).values(row))
            made[table.name].append(row)
    for table, key in dict.fromkeys(later):
        target = made[key.column.table.name][0][key.column.name]
        connection.execute(update(table).values({key.parent.name: target}))
    return {name: len(written) for name, written in made.items()}


def _in_order(metadata: MetaData) -> Iterator[Table]:
    """Tables after those they name, as far as there is no circle."""
    waiting = [table for name, table in sorted(metadata.tables.items()) if name != "alembic_version"]
    done: set[str] = set()
    while waiting:
        able = [one for one in waiting if _names(one, required=True) <= done | {one.name}]
        whole = [one for one in able if _names(one, required=False) <= done | {one.name}]
        table = whole[0] if whole else max(able, key=lambda one: sum(one.name in _names(other) for other in waiting))
        waiting.remove(table)
        done.add(table.name)
        yield table


def _names(table: Table, *, required: bool = False) -> set[str]:
    keys = [key for key in table.foreign_keys if not (required and key.parent.nullable)]
    return {key.column.table.name for key in keys}


def _allowed(connection: Connection, table: Table) -> dict[str, str]:
    """The first word that a check of the form `column in (...)` allows."""
    found = {}
    for check in inspect(connection).get_check_constraints(table.name):
        match = re.match(r"\(*(\w+)\)?(?:::text)? = ANY \(+ARRAY\['([^']+)'", check["sqltext"])
        if match:
            found[match[1]] = match[2]
    return found


def _row(
    table: Table, allowed: dict[str, str], number: int, made: dict[str, Any], later: list[tuple[Table, ForeignKey]]
) -> dict[str, Any]:
    row = {}
    for column in table.columns:
        if column.computed is not None or column.name in NULL.get(table.name, ()):
            continue
        key = next(iter(column.foreign_keys), None)
        if column.name in GIVEN.get(table.name, {}):
            row[column.name] = GIVEN[table.name][column.name]
            continue
        if key is None and column.nullable and isinstance(column.type, Uuid):
            continue  # it will name a row of a table that a later schema has
        if key is None:
            row[column.name] = _value(column, allowed, number)
        elif made.get(key.column.table.name):
            targets = made[key.column.table.name]
            row[column.name] = targets[number % len(targets)][key.column.name]
        else:
            later.append((table, key))
    return row


def _value(column: Column[Any], allowed: dict[str, str], number: int) -> Any:
    """A value that differs from row to row wherever the type lets it."""
    kind = column.type
    if isinstance(kind, Uuid):
        return uuid5(NAMESPACE, f"{column.table.name}.{column.name}.{number}")
    if isinstance(kind, Boolean):
        return number % 2 == 0
    if isinstance(kind, Integer):
        return number
    if isinstance(kind, Float):
        return number / 8
    if isinstance(kind, DateTime):
        return f"2026-01-01 00:00:{number % 60:02}+00"
    if isinstance(kind, postgresql.DATE):
        return f"2026-01-{number % 28 + 1:02}"
    if isinstance(kind, postgresql.JSONB):
        return {"number": number}
    if isinstance(kind, postgresql.ARRAY):
        return []
    return allowed.get(column.name, f"{column.name} {number}")
