"""Events as rows: how one is stored, and how one is read and found whole."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator

from search.record.events import Event, Kind

KINDS = {str(kind): kind for kind in Kind}

Row = tuple[int, float, str, int | None, str, int]
"""An event as it is stored: `id`, `at`, kind, trial, body as JSON, checksum."""

SELECT = "SELECT id, at, kind, trial, body, crc FROM events WHERE id > ? ORDER BY id"
INSERT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)"
TABLE = (
    "CREATE TABLE events (id INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL,"
    " trial INTEGER, body TEXT NOT NULL, crc INTEGER NOT NULL)"
)


class Damaged(ValueError):
    """A row that is not whole, or says what no event can; the message says which, and why."""


def row_of(event: Event) -> Row:
    """`event` as it is stored."""
    told = (event.id, event.at, str(event.kind), event.trial, json.dumps(event.body, sort_keys=True))
    return *told, checksum(*told)


def checksum(id_: int, at: float, kind: str, trial: int | None, text: str) -> int:
    """What a row must show to be as it was written."""
    return zlib.crc32(f"{id_} {at!r} {kind} {trial} {text}".encode())


def whole(row: Row, id_: int) -> bool:
    """Whether `row` is as it was written, and number `id_`."""
    return row[0] == id_ and isinstance(row[4], str) and row[5] == checksum(*row[:5])


def decoded(rows: Iterable[Row], after: int = 0) -> Iterator[Event]:
    """The events of `rows`, which follow event `after`. Raises Damaged at the first that is not whole."""
    for expected, row in enumerate(rows, after + 1):
        if not whole(row, expected):
            raise Damaged(f"at event {expected}")
        id_, at, kind, trial, text, _ = row
        if kind not in KINDS:
            raise Damaged(f"at event {id_}: its kind is unknown: {str(kind)[:40]!r}")
        try:
            body = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Damaged(f"at event {id_}: {type(error).__name__}: {str(error)[:100]}") from None
        yield Event(id_, at, KINDS[kind], trial, body)
