"""A record, read without changing a byte of it or beside it, and within bounds, whoever made it.

SQLite itself writes when it reads: it makes or marks the index of a write-ahead log. So a file without a log is opened
as one that nobody changes, and one with a log is read from a copy. What is no table of events, or takes longer than any
record of ours, is refused.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from search.errors import EnvironmentFault
from search.record.events import Event
from search.record.rows import SELECT, Damaged, Row, decoded, whole
from search.record.validity import Check, first_fault

FILE = "record.db"
SCHEMA = 2
"""The version of the table; another one is not read."""
LARGEST_BODY = 2**24
"""Bytes of the largest body. That of a search with 1,000 start points of 20 hyperparameters has some 10^6."""
PATIENCE_SECONDS = 30.0
"""So long reading may take; 10^6 events take some 10 s."""
TRIES = 50
"""So often a record is copied anew that changed in the meantime."""


class Impossible(EnvironmentFault):
    """A record whose rows are as they were written, and say what no search of ours writes."""


def read(path: Path) -> Sequence[Event]:
    """All events of the record at `path`, which another process may be writing; the first one is `search`.

    Raises EnvironmentFault for a file that is no record, is damaged or is of another version, Impossible for one that
    says what cannot be.
    """
    events = stored(path)
    fault = first_fault(events)
    if fault is not None:
        raise _impossible(path, fault)
    return events


def _impossible(path: Path, fault: tuple[int, str]) -> Impossible:
    return Impossible(f"the record {path} is damaged at event {fault[0]}: {fault[1]}")


def stored(path: Path, after: int = 0) -> Sequence[Event]:
    """The same from the event behind `after` on, whatever they say: what is checked is that they are as written."""
    if path.is_symlink() or not path.is_file():
        raise EnvironmentFault(f"no record at {path}; `python -m search list` shows the searches there are")
    events: list[Event] = []
    try:
        with untouched(path) as database:
            check_shape(database)
            events.extend(decoded(database.execute(SELECT, (after,)), after))
    except Damaged as error:
        raise EnvironmentFault(f"the record {path} is damaged {error}") from None
    except (sqlite3.Error, UnicodeDecodeError, OverflowError) as error:
        how = f"is damaged after event {len(events)}" if events else "cannot be opened"
        raise EnvironmentFault(f"the record {path} {how}: {' '.join(str(error).split())}") from None
    if not events and not after:
        raise EnvironmentFault(f"the record {path} is damaged: it has lost all its events")
    return events


class Follower:
    """The record at `path` while it grows: what was read once is kept, and only what is new is read and checked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._forget()

    def _forget(self) -> None:
        self.events: list[Event] = []
        """All events so far."""
        self._check = Check()
        self._seen: tuple[tuple[int, int], ...] | None = None

    def news(self) -> tuple[Sequence[Event], bool]:
        """The events since the last call, and whether they are a new beginning: the first call, or another record.

        Raises what `read` raises; the next call then begins again.
        """
        now = stamps(self.path)
        if now == self._seen:
            return [], False
        known = len(self.events)
        try:
            # The last event that is known is read once more, to see that it is still the same record.
            found = stored(self.path, max(0, known - 1))
            if known and (not found or found[0] != self.events[-1]):
                self._forget()
                return self.news()
            fresh = found[1:] if known else found
            self.events += fresh
            fault = self._check.first_fault(self.events, known)
            if fault is not None:
                raise _impossible(self.path, fault)
        except EnvironmentFault:
            self._forget()
            raise
        self._seen = now
        return fresh, not known


def whole_beginning(path: Path) -> list[Row]:
    """The rows of the damaged record at `path` up to its first fault, without the append in which that is.

    The events of one append belong together, and share their time.
    """
    rows: list[Row] = []
    with (
        contextlib.suppress(sqlite3.Error, UnicodeDecodeError, OverflowError, Damaged),  # what was read so far is whole
        untouched(path) as damaged,
    ):
        check_table(damaged)
        for row in damaged.execute(SELECT, (0,)):
            if not whole(row, len(rows) + 1):
                break
            rows.append(row)
    return [row for row in rows if row[0] == 1 or row[1] != rows[-1][1]]


@contextlib.contextmanager
def untouched(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to what the record at `path` holds now, by which nothing there is written."""
    log = path.with_name(f"{path.name}-wal")
    with contextlib.ExitStack() as stack:
        if log.is_file() and log.stat().st_size:
            copy = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="search-record-")), FILE)
            _copy([path, log], [copy, copy.with_name(f"{FILE}-wal")])
            address = copy.absolute().as_uri()
        else:
            address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        database = stack.enter_context(contextlib.closing(sqlite3.connect(address, uri=True, isolation_level=None)))
        deadline = time.monotonic() + PATIENCE_SECONDS
        database.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_BODY)
        yield database


def _copy(files: Sequence[Path], copies: Sequence[Path]) -> None:
    """Copy all of `files` as they are at one moment, though a process may be writing to them."""
    for _ in range(TRIES):
        before = [_stamp(file) for file in files]
        for file, copy in zip(files, copies, strict=True):
            with contextlib.suppress(FileNotFoundError):  # a log that was folded in meanwhile
                shutil.copyfile(file, copy)
        if before == [_stamp(file) for file in files]:
            return
        time.sleep(0.01)
    raise EnvironmentFault(f"the record {files[0]} changed each time it was read; try again")


def stamps(path: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size and time of change of the record at `path` and of its log: another record, or more of it, has others."""
    return _stamp(path), _stamp(path.with_name(f"{path.name}-wal"))


def _stamp(file: Path) -> tuple[int, int]:
    try:
        told = file.stat()
    except FileNotFoundError:
        return 0, 0
    return told.st_size, told.st_mtime_ns


def check_table(database: sqlite3.Connection) -> None:
    """Raise Damaged unless there is one table, of events, and nothing else that could run when it is read."""
    there = database.execute("SELECT type, name FROM sqlite_master LIMIT 9").fetchall()
    if there != [("table", "events")]:
        named = ", ".join(f"{kind} {str(name)[:40]!r}" for kind, name in there) or "nothing"
        raise Damaged(f"or of another make: it holds {named} instead of a table of events")


def check_shape(database: sqlite3.Connection) -> None:
    """Raise Damaged unless the file is whole, of our version, and holds a table of events and nothing else."""
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA:
        raise Damaged(f"or of another make: it has version {version}, this code reads version {SCHEMA}")
    check_table(database)
    # A flipped bit in a page's head can hide the last rows without a trace; 6 ms for 10,000 events.
    fault = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if fault != "ok":
        raise Damaged(f"inside: {' '.join(str(fault).split())}")
