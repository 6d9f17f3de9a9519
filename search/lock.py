"""One process per search: a lock that the operating system gives back when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search.errors import EnvironmentFault, NameInUse

FILE = "lock"
PATIENCE_SECONDS = 1.0
"""Readers look at the lock for an instant; that must not make a driver give up."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the search in `folder`. Raises NameInUse if another process does, on this or another machine.

    A lock of `flock` dies with its process, also by kill -9, so none can be stale; over NFS it holds between machines.
    """
    try:
        descriptor = os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise EnvironmentFault(f"{folder} cannot be written ({error.strerror}); a search needs to") from None
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _taken(descriptor, fcntl.LOCK_EX, folder):
            if time.monotonic() > deadline:
                raise NameInUse(
                    f"the search {folder.name} is running{_holder(descriptor)}; "
                    "wait for its end, or start another under a name of its own"
                )
            time.sleep(0.05)
        with contextlib.suppress(OSError):  # for people only, and a full disk may have no room for it
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def is_held(folder: Path) -> bool:
    """Whether a process works on the search in `folder` at this moment."""
    try:
        descriptor = os.open(folder / FILE, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _taken(descriptor, fcntl.LOCK_SH, folder)
    finally:
        os.close(descriptor)


def _taken(descriptor: int, kind: int, folder: Path) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise EnvironmentFault(
            f"the file system of {folder} has no locks ({error.strerror}); choose another --runs"
        ) from None
    return True


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, 200, 0).decode(errors="replace")
    return f" ({text})" if text else ""
