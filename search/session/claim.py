"""A new search's folder and name, taken for good."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from search.errors import EnvironmentFault, NameInUse
from search.prepared import Prepared
from search.record.events import Kind
from search.record.reader import FILE
from search.record.record import Record
from search.settings import Settings
from search.signals import Stop
from search.storage import bucket, lock, mirror


@contextlib.contextmanager
def claimed(prepared: Prepared, stop: Stop) -> Iterator[Prepared]:
    """The search with a name, an id and the first event in its record, in a folder of its own that is locked inside.

    It is made aside and moved, so that a folder without a record is no search that was just begun, but a damaged one.
    In a bucket the name belongs to who writes the first event. Raises NameInUse if the name that was asked for is
    another search's, EnvironmentFault if the folder cannot be made.
    """
    runs = prepared.settings.runs
    runs.mkdir(parents=True, exist_ok=True)
    aside = runs / f".new-{uuid.uuid4().hex}"
    try:
        aside.mkdir()
        with lock.held_here(aside):
            begun = _begun(prepared, stop, aside)
            with lock.held_in_bucket(runs / begun.header.name):
                yield begun
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _begun(prepared: Prepared, stop: Stop, aside: Path) -> Prepared:
    """Begin under the first name that is free, and move the folder `aside` there."""
    settings = prepared.settings
    for name in _names(settings, prepared.study.name):
        folder = settings.runs / name
        if not _is_free(folder):
            continue
        process = replace(prepared.header.process, after_s=stop.elapsed())
        began = time.time() - process.after_s
        header = replace(prepared.header, name=name, id=uuid.uuid4().hex, started_at=began, process=process)
        for file in aside.glob(f"{FILE}*"):  # under another name
            file.unlink()
        with Record(aside / FILE, create=True, ahead=mirror.log(folder)) as record:
            try:
                record.append((Kind.SEARCH, None, header.to_plain()))
            except NameInUse:  # another process has begun one there in the meantime
                continue
            past = tuple(record.events())
        if _moved(aside, folder):
            return replace(prepared, header=header, past=past)
    raise NameInUse(f"a search named {settings.name} exists in {bucket.shown(settings.runs)}; choose another --name")


def _names(settings: Settings, study: str) -> Iterator[str]:
    return iter([settings.name]) if settings.name else (f"{study}-{count}" for count in itertools.count(1))


def _is_free(folder: Path) -> bool:
    """Whether no search is there; the mirror of a bucket may be left of one that the bucket has no longer."""
    mirror.pull(folder)
    return not (folder / FILE).exists() and (bucket.of(folder) is not None or not folder.exists())


def _moved(aside: Path, folder: Path) -> bool:
    """Move what was made `aside` to its `folder`; False if another process has put a search there in the meantime."""
    if bucket.of(folder) is not None:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        aside.rename(folder)
    except OSError as error:
        if folder.exists():
            return False
        raise EnvironmentFault(
            f"{folder} cannot be made ({error.strerror}); free space, or choose another --runs"
        ) from None
    return True
