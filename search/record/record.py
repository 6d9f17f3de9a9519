"""The record: everything that happens in a search, in the order in which it happened, in one SQLite file.

All else (sampler, scheduler, trials, tracking, display) is a projection of these events and can be rebuilt from them.
One process writes: the driver. Any other may read at the same time.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from search.errors import EnvironmentFault, RecordGone, StorageFull, shortage
from search.record.events import Entry, Event, Kind
from search.record.reader import SCHEMA, check_shape, whole_beginning
from search.record.rows import INSERT, SELECT, TABLE, Damaged, Row, decoded, row_of, whole
from search.signals import uninterrupted

PAGE = 4096


class Ahead(Protocol):
    """Another place that must have events before the record has them: what it does not take is not written."""

    def append(self, rows: Sequence[Row]) -> None:
        """Take the rows of one append, or raise SearchError."""

    def close(self) -> None:
        """No more will come."""


class Record:
    """An append-only list of events in `path`. Each append is one transaction, on disk when it returns.

    With `ahead` that is given them first. Raises EnvironmentFault for a file that is no record, is damaged or is of
    another version, StorageFull where an append found no space, and RecordGone where it found no file any more; the
    rows before it are whole.
    """

    def __init__(self, path: Path, *, create: bool = False, ahead: Ahead | None = None) -> None:
        self.path, self._ahead = path, ahead
        self._epoch = time.time() - time.monotonic()
        self._file: tuple[int, int] | None = None
        if not create and not path.is_file():
            raise EnvironmentFault(f"no record at {path}; `python -m search list` shows the searches there are")
        try:
            # The tracking thread reads over a connection of its own; this one is guarded by the single writer.
            self._db = sqlite3.connect(path, timeout=20, isolation_level=None, check_same_thread=False)
            if create:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute(TABLE)
                self._db.execute(f"PRAGMA user_version={SCHEMA}")
            self._db.execute("PRAGMA synchronous=FULL")
            check_shape(self._db)
            self._next = 1 + self.last_id()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            _raise_if_full(error, path, PAGE)
            raise EnvironmentFault(f"the record {path} cannot be opened: {error}") from None
        except Damaged as error:
            raise EnvironmentFault(f"the record {path} is damaged {error}") from None

    def append(self, *events: Entry) -> list[Event]:
        """Add `(kind, trial, body)` of each event, all of them or none, and return them as they were written."""
        now = self._epoch + time.monotonic()
        written = [Event(self._next + i, now, Kind(kind), trial, body) for i, (kind, trial, body) in enumerate(events)]
        rows = [row_of(event) for event in written]
        self.check_there()
        with uninterrupted():
            if self._ahead is not None:
                self._ahead.append(rows)
            self._insert(rows)
        return written

    def check_there(self) -> None:
        """Raise RecordGone if the file is no longer where it was: SQLite would go on writing to what is deleted."""
        now = _file(self.path)
        if now is None or now != (self._file or now):
            raise RecordGone(f"the record {self.path} was deleted or moved while the search ran")

    def absorb(self, rows: Sequence[Row]) -> None:
        """Add rows as another record has them. Raises EnvironmentFault unless they are whole and the next ones."""
        for number, row in enumerate(rows, self._next):
            if not whole(row, number):
                raise EnvironmentFault(f"event {number} of the record {self.path} came damaged from where it is kept")
        with uninterrupted():
            self._insert(rows)

    def rows(self, after: int = 0) -> list[Row]:
        """The events with an id above `after`, as they are stored; nothing is checked."""
        return list(self._db.execute("SELECT * FROM events WHERE id > ? ORDER BY id", (after,)))

    def _insert(self, rows: Sequence[Row]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(INSERT, rows)
            self._db.execute("COMMIT")
            self._next += len(rows)
            self._file = _file(self.path)
        except sqlite3.DatabaseError as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            _raise_if_full(error, self.path, sum(len(row[4]) for row in rows) + PAGE)
            raise EnvironmentFault(f"the record {self.path} cannot be written: {error}") from None

    def events(self, after: int = 0) -> Iterator[Event]:
        """The events with an id above `after`, in order. Raises EnvironmentFault at the first damaged row."""
        known = after
        try:
            for event in decoded(self._db.execute(SELECT, (after,)), after):
                known = event.id
                yield event
        except Damaged as error:
            raise EnvironmentFault(f"the record {self.path} is damaged {error}") from None
        except sqlite3.DatabaseError as error:
            raise EnvironmentFault(f"the record {self.path} is damaged after event {known}: {error}") from None

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


def salvage(path: Path) -> tuple[int, Path]:
    """Put the longest whole beginning of the damaged record at `path` in its place.

    Returns how many events it has, and the folder beside it to which the damaged files were copied. Raises
    EnvironmentFault, with nothing changed, if not even the first event can be read.
    """
    fresh = path.with_suffix(".new")
    if fresh.is_file() and not path.exists():  # what a salvage that was killed left to do
        for file in path.parent.glob(f"{path.name}-*"):
            file.unlink()
        os.replace(fresh, path)
        with Record(path) as record:
            return record.last_id(), path.parent
    events = whole_beginning(path)
    if not events:
        raise EnvironmentFault(f"nothing can be saved of the record {path}: its first event is gone")
    fresh.unlink(missing_ok=True)
    Record(fresh, create=True).close()
    with sqlite3.connect(fresh) as database:
        database.executemany(INSERT, events)
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


def _file(path: Path) -> tuple[int, int] | None:
    """What tells the file at `path` from every other; None if there is none."""
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_dev, told.st_ino


def _raise_if_full(error: Exception, path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    # SQLite says "disk I/O error" where it finds no room for its index of the log.
    if "full" in str(error) or ("disk I/O" in str(error) and free < 16 * PAGE):
        raise StorageFull(
            f"no space for the record {path}: {shortage(free, needed)}; it is whole up to here; free some, then resume"
        ) from None
