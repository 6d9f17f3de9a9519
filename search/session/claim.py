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
from search.record.record import FILE, Record
from search.settings import Settings
from search.signals import Stop
from search.storage import bucket, lock, mirror


@contextlib.contextmanager
def claimed(prepared: Prepared, stop: Stop) -> Iterator[tuple[Path, Prepared]]:
    """A new run's folder, locked, with the first event in its record.

    It is made aside and moved, so that a folder without a record is no search that was just begun, but a damaged one.
    In a bucket the name belongs to who writes the first event.
    """
    settings = prepared.settings
    settings.runs.mkdir(parents=True, exist_ok=True)
    aside = settings.runs / f".new-{uuid.uuid4().hex}"
    try:
        aside.mkdir()
        with contextlib.ExitStack() as stack:
            stack.enter_context(lock.held_here(aside))
            for name in _names(settings, prepared.study.name):
                folder = settings.runs / name
                mirror.pull(folder)
                mirrored = bucket.of(folder) is not None
                if (folder / FILE).exists() or (folder.exists() and not mirrored):
                    continue
                process = replace(prepared.header.process, after_s=stop.elapsed())
                began = time.time() - process.after_s
                header = replace(prepared.header, name=name, id=uuid.uuid4().hex, started_at=began, process=process)
                for file in aside.glob(f"{FILE}*"):
                    file.unlink()
                with Record(aside / FILE, create=True, ahead=mirror.log(folder)) as record:
                    try:
                        record.append((Kind.SEARCH, None, header.to_plain()))
                    except NameInUse:  # another process has begun one there in the meantime
                        continue
                    past = tuple(record.events())
                if mirrored:  # what is here is of another search, which the bucket has no longer
                    shutil.rmtree(folder, ignore_errors=True)
                try:
                    # Fails if another process has put a search there in the meantime.
                    aside.rename(folder)
                except OSError as error:
                    if folder.exists():
                        continue
                    raise EnvironmentFault(
                        f"{folder} cannot be made ({error.strerror}); free space, or choose another --runs"
                    ) from None
                stack.enter_context(lock.held_in_bucket(folder))
                yield folder, replace(prepared, header=header, past=past)
                return
            where = bucket.shown(settings.runs)
            raise NameInUse(f"a search named {settings.name} exists in {where}; choose another --name")
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _names(settings: Settings, study: str) -> Iterator[str]:
    return iter([settings.name]) if settings.name else (f"{study}-{count}" for count in itertools.count(1))
