"""One process per search: a lock that the operating system gives back when its holder dies.

Of a search in a bucket, which no operating system watches over, a sign of life besides: an object that its holder
writes anew every few seconds. It keeps people from starting a search twice; that two processes never write one record
is the record's affair (mirror.py).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from search.errors import EnvironmentFault, NameInUse, SearchError
from search.storage import bucket as storage
from search.storage import inside
from search.storage.bucket import Bucket

FILE = "lock"
HOLDER = "holder"
SIGN_SECONDS = 10.0
"""How often the holder of a search in a bucket gives a sign of life."""
DEAD_SECONDS = 30.0
"""Who has given none for so long is dead."""
PATIENCE_SECONDS = 1.0
"""Readers look at the lock for an instant; that must not make a driver give up."""


@contextmanager
def held(folder: Path, say: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """Hold the search in `folder`. Raises NameInUse if another process does, on this or another machine.

    `say` hears if it takes a while to tell whether somebody does.
    """
    with held_here(folder), held_in_bucket(folder, say):
        yield


@contextmanager
def held_here(folder: Path) -> Iterator[None]:
    """Hold `folder` against all processes that see it. Raises NameInUse if another one does.

    Who holds it may write, so links in it are refused here, with an EnvironmentFault (inside.py).
    A lock of `flock` dies with its process, also by kill -9, so none can be stale; over NFS it holds between machines.
    """
    inside.check(folder)
    try:
        descriptor = inside.plain_file(folder / FILE, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise EnvironmentFault(f"{folder} cannot be written ({error.strerror}); a search needs to") from None
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _taken(descriptor, fcntl.LOCK_EX, folder):
            if time.monotonic() > deadline:
                raise _in_use(folder, _holder(descriptor))
            time.sleep(0.05)
        with contextlib.suppress(OSError):  # for people only, and a full disk may have no room for it
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def held_in_bucket(folder: Path, say: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """Hold the search in the bucket of which `folder` is the mirror; nothing if it is none.

    Raises NameInUse if another process gives signs of life. One that gave its last a moment ago may be dead: so long
    as it takes to be sure is waited.
    """
    bucket = storage.of(folder)
    if bucket is None:
        yield
        return
    me = f"process {os.getpid()} on {os.uname().nodename}"
    age = bucket.age(HOLDER)
    if age is not None and age < DEAD_SECONDS:
        who = (bucket.get(HOLDER) or b"").decode(errors="replace")
        say(f"{who} worked on {folder.name} {age:.0f} s ago; waiting for a sign of it, at most {DEAD_SECONDS:g} s")
        written = time.monotonic() - age
        while age is not None and age < DEAD_SECONDS:
            time.sleep(1.0)
            age = bucket.age(HOLDER)
            # The storage's clock counts whole seconds.
            if age is not None and age + 1.5 < time.monotonic() - written:
                raise _in_use(folder, f" ({who})")
    over = threading.Event()
    bucket.put(HOLDER, me.encode())
    signs = threading.Thread(target=_give_signs, args=(bucket, me.encode(), over), daemon=True)
    signs.start()
    try:
        yield
    finally:
        over.set()
        signs.join(timeout=SIGN_SECONDS)
        with contextlib.suppress(SearchError):  # it will be taken for dead soon enough
            if bucket.get(HOLDER) == me.encode():
                bucket.remove([HOLDER])


def _give_signs(bucket: Bucket, me: bytes, over: threading.Event) -> None:
    while not over.wait(SIGN_SECONDS):
        with contextlib.suppress(SearchError):  # the record's next word says what is wrong
            bucket.put(HOLDER, me)


def is_held(folder: Path) -> bool:
    """Whether a process works on the search in `folder` at this moment."""
    if is_held_here(folder):
        return True
    bucket = storage.of(folder)
    age = bucket.hurried.age(HOLDER) if bucket else None
    return age is not None and age < DEAD_SECONDS


def is_held_here(folder: Path) -> bool:
    """Whether a process that sees `folder` works on the search in it."""
    try:
        descriptor = inside.plain_file(folder / FILE, os.O_RDONLY)
    except (OSError, EnvironmentFault):  # what is no lock holds nothing
        return False
    try:
        return not _taken(descriptor, fcntl.LOCK_SH, folder)
    finally:
        os.close(descriptor)


def _in_use(folder: Path, who: str) -> NameInUse:
    return NameInUse(
        f"the search {folder.name} is running{who}; wait for its end, or start another under a name of its own"
    )


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
