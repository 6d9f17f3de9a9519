"""The record: everything that happens in a search, in the order in which it happened, in one SQLite file.

All else (sampler, scheduler, trials, tracking, display) is a projection of these events and can be rebuilt from them.
One process writes: the driver. Any other may read at the same time.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from search.errors import EnvironmentFault, StorageFull
from search.record.events import Entry, Event, Kind
from search.signals import uninterrupted

SCHEMA = 2
FILE = "record.db"
PAGE = 4096
KINDS = {str(kind): kind for kind in Kind}

Row = tuple[int, float, str, int | None, str, int]
"""An event as it is stored: `id`, `at`, kind, trial, body as JSON, checksum."""


class Ahead(Protocol):
    """Another place that must have events before the record has them: what it does not take is not written."""

    def append(self, rows: Sequence[Row]) -> None:
        """Take the rows of one append, or raise SearchError."""

    def close(self) -> None:
        """No more will come."""


class Record:
    """An append-only list of events in `path`. Each append is one transaction, on disk when it returns.

    With `ahead` that is given them first. Raises EnvironmentFault for a file that is no record, is damaged or is of
    another version, and StorageFull where an append found no space; the rows before it are whole.
    """

    def __init__(self, path: Path, *, create: bool = False, ahead: Ahead | None = None) -> None:
        self.path, self._ahead = path, ahead
        self._epoch = time.time() - time.monotonic()
        if not create and not path.is_file():
            raise EnvironmentFault(f"no record at {path}; `python -m search list` shows the searches there are")
        try:
            # The tracking thread reads over a connection of its own; this one is guarded by the single writer.
            self._db = sqlite3.connect(path, timeout=20, isolation_level=None, check_same_thread=False)
            if create:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute(
                    "CREATE TABLE events (id INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL,"
                    " trial INTEGER, body TEXT NOT NULL, crc INTEGER NOT NULL)"
                )
                self._db.execute(f"PRAGMA user_version={SCHEMA}")
            self._db.execute("PRAGMA synchronous=FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            self._next = 1 + (self.last_id() if version == SCHEMA else 0)
            # A flipped bit in a page's head can hide the last rows without a trace; 6 ms for 10,000 events.
            fault = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            _raise_if_full(error, path, PAGE)
            raise EnvironmentFault(f"the record {path} cannot be opened: {error}") from None
        if fault != "ok":
            raise EnvironmentFault(f"the record {path} is damaged: {' '.join(fault.split())}")
        if version != SCHEMA:
            raise EnvironmentFault(f"the record {path} has version {version}, this code reads version {SCHEMA}")

    def append(self, *events: Entry) -> list[Event]:
        """Add `(kind, trial, body)` of each event, all of them or none, and return them as they were written."""
        now = self._epoch + time.monotonic()
        written = [Event(self._next + i, now, Kind(kind), trial, body) for i, (kind, trial, body) in enumerate(events)]
        rows = [_row(event) for event in written]
        with uninterrupted():
            if self._ahead is not None:
                self._ahead.append(rows)
            self._insert(rows)
        return written

    def absorb(self, rows: Sequence[Row]) -> None:
        """Add rows as another record has them. Raises EnvironmentFault unless they are whole and the next ones."""
        for number, row in enumerate(rows, self._next):
            if row[0] != number or row[5] != _checksum(*row[:5]):
                raise EnvironmentFault(f"event {number} of the record {self.path} came damaged from where it is kept")
        with uninterrupted():
            self._insert(rows)

    def rows(self, after: int = 0) -> list[Row]:
        """The events with an id above `after`, as they are stored; nothing is checked."""
        return list(self._db.execute("SELECT * FROM events WHERE id > ? ORDER BY id", (after,)))

    def _insert(self, rows: Sequence[Row]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._db.execute("COMMIT")
            self._next += len(rows)
        except sqlite3.DatabaseError as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            _raise_if_full(error, self.path, sum(len(row[4]) for row in rows) + PAGE)
            raise EnvironmentFault(f"the record {self.path} cannot be written: {error}") from None

    def events(self, after: int = 0) -> Iterator[Event]:
        """The events with an id above `after`, in order. Raises EnvironmentFault at the first damaged row."""
        expected = after + 1
        try:
            for id_, at, kind, trial, text, crc in self._db.execute(
                "SELECT id, at, kind, trial, body, crc FROM events WHERE id > ? ORDER BY id", (after,)
            ):
                if id_ != expected or crc != _checksum(id_, at, kind, trial, text):
                    raise EnvironmentFault(f"the record {self.path} is damaged at event {expected}")
                if kind not in KINDS:
                    raise EnvironmentFault(f"event {id_} of the record {self.path} is of an unknown kind: {kind!r}")
                expected += 1
                yield Event(id_, at, KINDS[kind], trial, json.loads(text))
        except sqlite3.DatabaseError as error:
            raise EnvironmentFault(f"the record {self.path} is damaged after event {expected - 1}: {error}") from None

    def last_id(self) -> int:
        """The id of the last event, 0 if there is none."""
        return int(self._db.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0])

    def close(self) -> None:
        """Close the file; the write-ahead log is folded into it."""
        self._db.close()
        if self._ahead is not None:
            self._ahead.close()

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read(path: Path) -> Sequence[Event]:
    """All events of the record at `path`, which another process may be writing; the first one is `search`."""
    with Record(path) as record:
        events = list(record.events())
    if not events:
        raise EnvironmentFault(f"the record {path} is damaged: it has lost all its events")
    return events


def salvage(path: Path) -> tuple[int, Path]:
    """Put the longest whole beginning of the damaged record at `path` in its place.

    It ends one append before the damage: the events of one append belong together, and share their time. Returns how
    many events it has, and the folder beside it to which the damaged files were copied. Raises EnvironmentFault, with
    nothing changed, if not even the first event can be read.
    """
    fresh = path.with_suffix(".new")
    if fresh.is_file() and not path.exists():  # what a salvage that was killed left to do
        for file in path.parent.glob(f"{path.name}-*"):
            file.unlink()
        os.replace(fresh, path)
        with Record(path) as record:
            return record.last_id(), path.parent
    events: list[tuple[Any, ...]] = []
    # No Record, whose checks at opening would refuse; and read only, so that the damaged files stay as they are.
    read_only = f"{path.absolute().as_uri()}?mode=ro"
    with (
        contextlib.suppress(sqlite3.DatabaseError, UnicodeDecodeError),  # what was read so far is whole
        contextlib.closing(sqlite3.connect(read_only, uri=True, timeout=20)) as damaged,
    ):
        for id_, at, kind, trial, text, crc in damaged.execute(
            "SELECT id, at, kind, trial, body, crc FROM events ORDER BY id"
        ):
            if id_ != len(events) + 1 or crc != _checksum(id_, at, kind, trial, text):
                break
            events.append((id_, at, kind, trial, text, crc))
    events = [row for row in events if row[0] == 1 or row[1] != events[-1][1]]
    if not events:
        raise EnvironmentFault(f"nothing can be saved of the record {path}: its first event is gone")
    fresh.unlink(missing_ok=True)
    Record(fresh, create=True).close()
    with sqlite3.connect(fresh) as database:
        database.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", events)
    database.close()
    number = next(n for n in itertools.count(1) if not (path.parent / f"damaged-{n}").exists())
    aside = path.parent / f"damaged-{number}"
    aside.mkdir()
    logs = list(path.parent.glob(f"{path.name}-*"))
    for file in [path, *logs]:
        shutil.copy2(file, aside / file.name)
    # The log after the file, so that what a kill in between leaves is no record; before the new one, or SQLite would
    # play it into that.
    path.unlink()
    for file in logs:
        file.unlink()
    os.replace(fresh, path)
    return len(events), aside


def _raise_if_full(error: Exception, path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    # SQLite says "disk I/O error" where it finds no room for its index of the log.
    if "full" in str(error) or ("disk I/O" in str(error) and free < 16 * PAGE):
        raise StorageFull(
            f"no space for the record {path}: {free:,} bytes free, some {needed:,} needed; "
            "free some, then resume; it is whole up to here"
        ) from None


def _row(event: Event) -> Row:
    told = (event.id, event.at, str(event.kind), event.trial, json.dumps(event.body, sort_keys=True))
    return *told, _checksum(*told)


def _checksum(id_: int, at: float, kind: str, trial: int | None, text: str) -> int:
    return zlib.crc32(f"{id_} {at!r} {kind} {trial} {text}".encode())
