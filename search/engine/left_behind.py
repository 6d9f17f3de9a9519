"""What a trial leaves in the folder of its search: a log of all that it prints, and a folder for files of its own.

Runs in worker processes, one trial at a time, and where the driver builds a winner again.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from search.errors import EnvironmentFault
from search.storage import inside
from search.storage.runs import TRIALS, home_of, log_file
from trainables.trial import FOLDER

MOST_BYTES = 20 * 10**6
"""So large a log may become; then its first half is dropped, and the log says so."""
LOOK_SECONDS = 1.0
LAST_BYTES = 4096
"""In so much of the end of a log its last line is looked for."""


@contextlib.contextmanager
def kept(folder: Path, trial: int, title: str = "") -> Iterator[None]:
    """Inside, what this process prints goes to the log of `trial`, also by its children and libraries in C.

    `trainables.trial.folder()` is then a folder that is kept. What is printed is added to what the log has, below a
    line with the `title`. Where no log can be written, as on a full disk, the trial trains without.
    """
    path = log_file(folder, trial)
    descriptor = _opened(path)
    os.environ[FOLDER] = str(folder / TRIALS / home_of(trial))
    try:
        with contextlib.ExitStack() as stack:
            if descriptor is not None:
                stack.enter_context(_redirected(descriptor, title))
                stack.enter_context(_bounded(descriptor, path))
            yield
    finally:
        os.environ.pop(FOLDER, None)
        if descriptor is not None:
            empty = not os.fstat(descriptor).st_size
            os.close(descriptor)
            if empty:
                with contextlib.suppress(OSError):  # somebody tidied up
                    path.unlink()


def last_line(folder: Path, trial: int) -> str:
    """The last line in the log of `trial` that says anything; "" if there is none."""
    _flush()
    try:
        with open(log_file(folder, trial), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


@contextlib.contextmanager
def _bounded(descriptor: int, path: Path) -> Iterator[None]:
    """Inside, and at the end of it, the log at `path`, open to append as `descriptor`, is kept to MOST_BYTES."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            _cut(descriptor, path)

    thread = threading.Thread(target=look, name="log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        _flush()
        _cut(descriptor, path)


def _cut(descriptor: int, path: Path) -> None:
    size = os.fstat(descriptor).st_size
    if size <= MOST_BYTES:
        return
    with contextlib.suppress(OSError):  # somebody tidied up, or the disk is full
        with open(path, "rb") as file:
            file.seek(size - MOST_BYTES // 2)
            kept_bytes = file.read(MOST_BYTES // 2)
        os.ftruncate(descriptor, 0)
        os.write(
            descriptor, f"--- {size - len(kept_bytes):,} bytes before this were dropped ---\n".encode() + kept_bytes
        )


def _opened(path: Path) -> int | None:
    try:
        path.parent.mkdir(exist_ok=True)
        return inside.plain_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    except (OSError, EnvironmentFault):
        return None


@contextlib.contextmanager
def _redirected(descriptor: int, title: str) -> Iterator[None]:
    """Inside, standard output and error of this process go to `descriptor`.

    Below Python, so that what holds on to `sys.stderr` from one trial to the next, as handlers of `logging` do, writes
    to the log of the trial that runs.
    """
    _flush()
    before = [os.dup(stream) for stream in (1, 2)]
    size, head = os.fstat(descriptor).st_size, f"--- {title} ---\n".encode() if title else b""
    os.write(descriptor, head)
    try:
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        with _over(1, "stdout"), _over(2, "stderr"):
            yield
    finally:
        _flush()
        for stream, was in zip((1, 2), before, strict=True):
            os.dup2(was, stream)
            os.close(was)
        if os.fstat(descriptor).st_size == size + len(head):  # nothing was printed
            os.ftruncate(descriptor, size)


@contextlib.contextmanager
def _over(descriptor: int, name: str) -> Iterator[None]:
    """Inside, `sys.stdout` (or stderr) writes to `descriptor`, also where somebody had put another file there."""
    before = getattr(sys, name)
    if _descriptor(before) == descriptor:
        yield
        return
    with open(descriptor, "w", buffering=1, closefd=False, errors="backslashreplace") as made:
        setattr(sys, name, made)
        try:
            yield
        finally:
            setattr(sys, name, before)


def _descriptor(stream: Any) -> int | None:
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, ValueError):  # None, closed, or an object without one
        return None


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, or replaced by something else
            stream.flush()
