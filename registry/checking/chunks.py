"""A table's rows so many at a time, each lot one view of its own: for walks that nothing should wait for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Column, Select, tuple_

from registry.database import Database
from registry.pins.rows import Row

_ROWS: Final = 1000


def chunks(database: Database, query: Select[Any], key: tuple[Column[Any], ...]) -> Iterator[Row]:
    """The query's rows by their key."""
    for page in pages(database, query, key):
        yield from page


def pages(database: Database, query: Select[Any], key: tuple[Column[Any], ...]) -> Iterator[Sequence[Row]]:
    """The query's rows by their key, so many in one view."""
    after: tuple[Any, ...] | None = None
    while True:
        page = query.limit(_ROWS)
        if after is not None:
            page = page.where(tuple_(*key) > after) if len(key) > 1 else page.where(key[0] > after[0])
        with database.read() as connection:
            rows = [dict(row) for row in connection.execute(page).mappings()]
        yield rows
        if len(rows) < _ROWS:
            return
        after = tuple(rows[-1][each.name] for each in key)
