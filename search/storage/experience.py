"""What the searches in a folder teach, kept beside them in one file; and the file in which that travels.

`experience.db` is a projection of the records: it can be thrown away at any time, and is then made anew. Of each search
it has the stamps of its record, so that only what is new or has changed is read again.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.errors import BadInput, EnvironmentFault
from search.printable import one_line
from search.record.lesson import Lesson, lesson_of
from search.record.reader import FILE as RECORD
from search.record.reader import read, stamps
from search.storage.bucket import shown
from search.storage.runs import searches

FILE = "experience.db"
VERSION = 1
"""Of both files; another one is not read."""
NEWEST = 200
"""So many searches of each problem are kept, the newest."""
LARGEST = 2**24
"""Bytes of a lesson in the projection, and of a whole file that travels, at most."""
LARGEST_KEPT = 2**28
"""Bytes of a projection, at most; one of 200 searches of one space has some 10^7."""
PATIENCE_SECONDS = 20.0
"""So long a search that begins reads what is new. The newest records come first, the others have their turn later."""
LOCKED_SECONDS = 5.0
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
TABLE = (
    "CREATE TABLE known (folder TEXT PRIMARY KEY, stamp TEXT NOT NULL, at REAL NOT NULL, problem TEXT NOT NULL,"
    " lesson TEXT NOT NULL) WITHOUT ROWID"
)

Warn = Callable[[str], None]


class Unreadable(ValueError):
    """A file that is no experience of this version; the message says why, in a line."""


@dataclass(frozen=True)
class _Row:
    """What the projection has of the search in `folder`; problem and lesson are "" if it teaches nothing."""

    folder: str
    stamp: str
    at: float = 0.0
    problem: str = ""
    lesson: str = ""


def of_folder(
    runs: Path, problem: str | None, warn: Warn, *, keep: bool, patience: float = PATIENCE_SECONDS
) -> list[Lesson]:
    """What the searches in the folder `runs` teach on `problem` (its key; None for all), the newest last.

    With `keep` the projection there is brought up to date, in one transaction; else nothing is written. What is wrong
    with it, or with a record, is one warning, and the rest is used. Reading what is new takes `patience` seconds at
    most.
    """
    path = runs / FILE
    had: dict[str, _Row] = {}
    broken = False
    if path.is_symlink():
        warn(f"{path} is a link, so it is neither read nor written")
        keep = False
    elif path.exists():
        try:
            had = {row.folder: row for row in _rows(path)}
        except Unreadable as error:
            broken = True
            warn(f"{path} {error}; " + ("it is made anew from the records" if keep else "the records are read"))
    there = [folder for folder in searches(runs) if NAME.fullmatch(folder.name)]  # no command knows another
    rows: dict[str, _Row] = {}
    fresh: list[_Row] = []
    deadline, passed_over = time.monotonic() + patience, 0
    for folder in reversed(there):
        stamp = _stamp(folder / RECORD)
        known = had.get(folder.name)
        if known is None or known.stamp != stamp:
            if time.monotonic() > deadline:
                passed_over += 1
                continue
            known = _read(folder, stamp, warn)
            fresh.append(known)
        rows[folder.name] = known
    if passed_over:
        warn(f"{passed_over} searches in {runs} were not read for experience yet; the next search goes on with them")
    kept = _newest(rows.values())
    if keep and (fresh or broken or kept.keys() != had.keys()):
        _write(path, list(kept.values()), warn, anew=broken)
    return _lessons(
        kept.values(), problem, lambda row: warn(f"{path} says what cannot be of {one_line(row.folder)}; delete it")
    )


def of_file(path: Path, problem: str | None) -> list[Lesson]:
    """What the file at `path` teaches on `problem` (its key; None for all), the newest last. Writes nothing.

    It is one that `export` wrote, or a projection without its records. Raises Unreadable.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from None
    if content.startswith(b"SQLite format 3\0"):
        return _lessons(_rows(path), problem, _refuse)
    if len(content) > LARGEST:
        raise Unreadable(f"has more than {LARGEST:,} bytes")
    try:
        plain = json.loads(content)
    except (ValueError, RecursionError):
        raise Unreadable("is damaged, or no file of experience") from None
    if not isinstance(plain, dict) or not isinstance(plain.get("searches"), list):
        raise Unreadable("is no file of experience")
    if plain.get("experience") != VERSION:
        raise Unreadable(f"is of version {str(plain.get('experience'))[:20]}, this code reads version {VERSION}")
    found = [_checked(each) for each in plain["searches"]]
    return _sorted(each for each in found if problem in (None, each.problem.key))


def export(lessons: Sequence[Lesson], path: Path) -> None:
    """Write `lessons` to `path`, for `of_file`. Raises BadInput if there is a file, or none can be made."""
    lines = ",\n".join(json.dumps(each.to_plain()) for each in lessons)  # a line each: versions can be compared
    try:
        with path.open("x") as file:
            file.write(f'{{"experience": {VERSION}, "searches": [\n{lines}\n]}}\n')
    except FileExistsError:
        raise BadInput(f"{path} exists; choose another name for --export, or remove it") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}); choose another place for --export") from None


def _stamp(record: Path) -> str:
    try:
        return json.dumps(stamps(record))
    except OSError as error:  # a link that leads nowhere; who reads it will say so
        return str(error.errno)


def _read(folder: Path, stamp: str, warn: Warn) -> _Row:
    """What the record in `folder` teaches now."""
    try:
        lesson = lesson_of(folder.name, read(folder / RECORD))
        # As it will be read: what that refuses is not to be written.
        lesson = lesson and Lesson.from_plain(json.loads(json.dumps(lesson.to_plain())))
    except EnvironmentFault as error:
        warn(f"{error}; it is no experience")
        lesson = None
    except ValueError as error:
        warn(f"{shown(folder)} is no experience: {error}")
        lesson = None
    if lesson is None:
        return _Row(folder.name, stamp)
    return _Row(folder.name, stamp, lesson.at, lesson.problem.key, json.dumps(lesson.to_plain()))


def _newest(rows: Iterable[_Row]) -> dict[str, _Row]:
    """`rows` by folder, of which the NEWEST of each problem teach, and older ones no more."""
    kept: dict[str, _Row] = {}
    count: dict[str, int] = {}
    for row in sorted(rows, key=lambda row: (-row.at, row.folder)):
        if row.problem:
            count[row.problem] = count.get(row.problem, 0) + 1
        kept[row.folder] = row if count.get(row.problem, 0) <= NEWEST else _Row(row.folder, row.stamp)
    return kept


def _lessons(rows: Iterable[_Row], problem: str | None, refuse: Callable[[_Row], None]) -> list[Lesson]:
    found = []
    for row in rows:
        if not row.problem or problem not in (None, row.problem):
            continue
        try:
            lesson = _checked(json.loads(row.lesson))
            if lesson.problem.key != row.problem:
                raise Unreadable("tells of another problem than it says")
        except (ValueError, RecursionError):
            refuse(row)
            continue
        found.append(lesson)
    return _sorted(found)


def _refuse(row: _Row) -> None:
    raise Unreadable(f"says what cannot be of {one_line(row.folder)[:100]}")


def _checked(plain: Any) -> Lesson:
    try:
        return Lesson.from_plain(plain)
    except ValueError as error:
        raise Unreadable(f"says what cannot be: {one_line(str(error))}") from None


def _sorted(lessons: Iterable[Lesson]) -> list[Lesson]:
    """By age, each search once, however often it was copied."""
    return list({each.id: each for each in sorted(lessons, key=lambda each: (each.at, each.id))}.values())


def _rows(path: Path) -> list[_Row]:
    """The rows of the projection at `path`, read without a byte being written. Raises Unreadable."""
    try:
        if path.stat().st_size > LARGEST_KEPT:
            raise Unreadable(f"has more than {LARGEST_KEPT:,} bytes")
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=LOCKED_SECONDS)
        ) as database:
            deadline = time.monotonic() + PATIENCE_SECONDS
            database.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST)
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version != VERSION:
                raise Unreadable(f"is of version {version}, this code reads version {VERSION}")
            if database.execute("SELECT type, name, sql FROM sqlite_master LIMIT 2").fetchall() != [
                ("table", "known", TABLE)
            ]:
                raise Unreadable("is of another make")
            if database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise Unreadable("is damaged inside")
            rows = [_Row(*row) for row in database.execute("SELECT * FROM known")]
    except (OSError, sqlite3.Error, UnicodeDecodeError, OverflowError) as error:
        raise Unreadable(f"cannot be read ({one_line(str(error))[:100]})") from None
    for row in rows:
        if [type(each) for each in vars(row).values()] != [str, str, float, str, str]:
            raise Unreadable("is damaged inside")
    return rows


def _write(path: Path, rows: Sequence[_Row], warn: Warn, *, anew: bool) -> None:
    """Let the projection at `path` have these rows and no others, all at once; it begins `anew` if it was none."""
    try:
        if anew:
            path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path, timeout=LOCKED_SECONDS, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            if not database.execute("SELECT 1 FROM sqlite_master").fetchall():
                database.execute(TABLE)
                database.execute(f"PRAGMA user_version={VERSION}")
            database.execute("DELETE FROM known")
            database.executemany(
                "INSERT INTO known VALUES (?, ?, ?, ?, ?)", [tuple(vars(row).values()) for row in rows]
            )
            database.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        warn(f"{path} cannot be written ({one_line(str(error))[:100]}); what the records say is used all the same")
