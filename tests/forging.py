"""A record as somebody else could make it: its rows changed, its checksums made to fit."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.record.reader import FILE
from search.record.rows import INSERT, TABLE, checksum


@dataclass
class Forged:
    """A row without number and checksum; `body` is an object, or the text that stands for one."""

    at: float
    kind: str
    trial: int | None
    body: Any


Forgery = Callable[[list[Forged]], object]
"""Changes the rows of a record in place."""


def forge(folder: Path, change: Forgery) -> None:
    """Let the record of the search in `folder` say what `change` makes of its rows."""
    with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as database:
        stored = database.execute("SELECT at, kind, trial, body FROM events ORDER BY id").fetchall()
        rows = [Forged(at, kind, trial, _body(text)) for at, kind, trial, text in stored]
        change(rows)
        database.execute("DELETE FROM events")
        for number, row in enumerate(rows, start=1):
            text = row.body if isinstance(row.body, str) else json.dumps(row.body, sort_keys=True)
            told = (number, row.at, row.kind, row.trial, text)
            database.execute(INSERT, (*told, checksum(*told)))
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _body(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # a forgery before this one
        return text


def of_kind(rows: list[Forged], kind: str) -> Forged:
    """The first row of a kind."""
    return next(row for row in rows if row.kind == kind)


def with_view(folder: Path) -> None:
    """In place of the table of events, a view that never ends."""
    endless = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id, 1.0 AS at, 'asked' AS kind,"
    with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as database:
        database.execute("DROP TABLE events")
        database.execute(f"CREATE VIEW events AS {endless} 0 AS trial, '{{}}' AS body, 0 AS crc FROM n")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def with_trigger(folder: Path) -> None:
    """Beside the table of events, one more table and a trigger."""
    with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as database:
        database.execute("CREATE TABLE others (id INTEGER)")
        database.execute("CREATE TRIGGER t AFTER INSERT ON events BEGIN INSERT INTO others VALUES (1); END")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def replaced(folder: Path, make: Callable[[Path], object]) -> None:
    """In place of the record what `make` makes at its path."""
    for file in folder.glob(f"{FILE}*"):
        file.unlink()
    make(folder / FILE)


def table_without_rows(path: Path) -> None:
    """A record of no events."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(TABLE)
        database.execute("PRAGMA user_version=2")


def seen(folder: Path) -> dict[str, bytes | str | None]:
    """Every entry below `folder`: the content of a file, where a link leads, None for anything else."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        try:
            found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        except PermissionError:
            found[name] = "closed"
    return found
