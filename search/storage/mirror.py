"""A search that is kept in a bucket: what of it lies where, and how the folder here follows.

| object | what |
|---|---|
| `NAME/record/000000000007` | the events of one append, from event 7 on; created once and never changed |
| `NAME/chapters/000000001041` | all events after the chapter before up to event 1041 in one object, to be read sooner |
| `NAME/holder` | which process works on the search; written anew every few seconds, see lock.py |
| `NAME/checkpoints/…`, `NAME/report.html`, `NAME/test.npz`, `NAME/val.npz` | as in a folder |

The record in the bucket is the search. An event counts once its object is created, and since an object can be created
only where there is none, no two processes can both write the next event: who is taken for dead, and is not, learns of
it at its next word, before it has told a worker anything. `record.db` in the mirror is a copy to read from.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from search.errors import EnvironmentFault, NameInUse, SearchError
from search.record.reader import FILE
from search.record.record import Record
from search.record.rows import Row
from search.storage import bucket as storage
from search.storage import lock
from search.storage.bucket import LANES, Bucket

CHAPTER = 1000
"""So many events make a chapter, at least."""
PULL = "pull"
"""Held by who changes the mirror without working on the search."""
KEPT = (lock.FILE, PULL)


def record(folder: Path) -> Record:
    """The record in `folder`, to be written by who holds the search; in its bucket first, if it is a mirror."""
    return Record(folder / FILE, ahead=log(folder))


def log(folder: Path) -> Log | None:
    """Where the record in `folder` must be written first; None if it is no mirror."""
    bucket = storage.of(folder)
    return Log(bucket, folder / FILE) if bucket else None


class Log:
    """The record of the search in `bucket`, one object per append. `mirror` is its copy here, which has all of it."""

    def __init__(self, bucket: Bucket, mirror: Path) -> None:
        self._bucket = bucket
        chapters = _chapters(bucket)
        self._lines: list[bytes] = []
        if mirror.is_file():
            with Record(mirror) as copy:
                self._lines = _lines(copy.rows(after=max(chapters, default=0)))

    def append(self, rows: Sequence[Row]) -> None:
        """Create the object of these rows. Raises NameInUse if another process has: then it works on the search."""
        lines = _lines(rows)
        if not self._bucket.create(_segment(rows[0][0]), b"\n".join(lines)):
            raise NameInUse(
                f"another process has taken over {self._bucket.url}, where it found no sign of this one; this one ends"
            )
        self._lines += lines
        if len(self._lines) >= CHAPTER:
            self._chapter()

    def close(self) -> None:
        """Make a chapter of what is in none yet. The record is whole without, so a storage that is gone is no fault."""
        with contextlib.suppress(SearchError):
            self._chapter()

    def _chapter(self) -> None:
        if self._lines:
            last = json.loads(self._lines[-1])[0]
            self._bucket.put(f"chapters/{last:012d}", b"\n".join(self._lines))
            self._lines = []


def pull(folder: Path, *, holding: bool = False) -> None:
    """Bring the mirror `folder` of a search up to date; nothing for a folder that is no mirror.

    What does not agree with the bucket is thrown away: the bucket is right. While a process of this machine works on
    the search the mirror is left to it, unless it is the caller, `holding` the search.
    """
    bucket = storage.of(folder)
    if bucket is None or (not holding and lock.is_held_here(folder)):
        return
    bucket = bucket if holding else bucket.hurried
    first = bucket.get(_segment(1))
    if first is None:
        _empty(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with _pulling(folder):
        if not holding and lock.is_held_here(folder):  # since just now
            return
        copy = _copy(folder, _rows(first))
        with copy:
            behind = copy.last_id()
            for rows in _after(bucket, behind):
                copy.absorb([row for row in rows if row[0] > copy.last_id()])
            latest = copy.rows(after=copy.last_id() - 1)[0][1]
        os.utime(folder / FILE, (latest, latest))  # by which searches are put in order
        for each in bucket.top()[0]:
            file = folder / each.key
            if each.key != lock.HOLDER and not (
                file.is_file() and (file.stat().st_size, file.stat().st_mtime) == (each.bytes, each.written)
            ):
                bucket.download(folder, [each.key])
                os.utime(file, (each.written, each.written))


def pull_all(runs: Path) -> None:
    """Bring the mirrors of all searches in `runs` up to date; nothing for a folder that is no mirror."""
    bucket = storage.of(runs)
    if bucket is None:
        return
    there = [name for name in bucket.hurried.top()[1] if not name.startswith(".")]
    for name in there:
        pull(runs / name)
    for folder in runs.glob("*/"):
        if folder.name not in there and not folder.name.startswith(".") and not lock.is_held_here(folder):
            _empty(folder)


def push(file: Path) -> None:
    """Put a file of a search that is kept in a bucket there, too. Raises SearchError."""
    bucket = storage.of(file.parent)
    if bucket is not None:
        bucket.upload(file.parent, [file])


def _copy(folder: Path, first: Sequence[Row]) -> Record:
    """The copy of the record, of which the beginning is known to be this search's; a new one if there is none."""
    if (folder / FILE).is_file():
        with contextlib.suppress(EnvironmentFault):  # damaged
            copy = Record(folder / FILE)
            if [list(row) for row in copy.rows()[: len(first)]] == [list(row) for row in first]:
                return copy
            copy.close()
        _empty(folder)
    copy = Record(folder / FILE, create=True)
    copy.absorb(first)
    return copy


def _after(bucket: Bucket, known: int) -> Iterator[list[Row]]:
    """The rows of the record after the event `known`, in order; the first ones may be known."""
    for last in _chapters(bucket):
        if last > known:
            yield _rows(bucket.get(f"chapters/{last:012d}") or b"")
            known = last
    keys = [each.key for each in bucket.objects("record/", after=_segment(known))]
    with ThreadPoolExecutor(LANES) as lanes:
        for content in lanes.map(bucket.get, keys):
            yield _rows(content or b"")


def _chapters(bucket: Bucket) -> list[int]:
    """The last events of the chapters there are, in order."""
    return [int(each.key.rpartition("/")[2]) for each in bucket.objects("chapters/")]


def _segment(first: int) -> str:
    return f"record/{first:012d}"


def _lines(rows: Sequence[Row]) -> list[bytes]:
    return [json.dumps(row).encode() for row in rows]


def _rows(content: bytes) -> list[Row]:
    return [tuple(json.loads(line)) for line in content.splitlines()]


@contextlib.contextmanager
def _pulling(folder: Path) -> Iterator[None]:
    with (folder / PULL).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _empty(folder: Path) -> None:
    """Remove what is in a mirror, but for the locks, which others may be waiting for."""
    for path in folder.glob("*"):
        if path.name not in KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
