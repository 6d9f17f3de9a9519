"""What is computed once per node: a file of float32 numbers, filled in pieces by whoever needs it, mapped by all.

Each piece is claimed by a lock on its number, which the system gives back if a process dies, so several workers fill
one file together, each piece is computed once, and a killed worker costs its own piece.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from trainables.cache import cache_folder

PIECE = 32
"""Rows that are computed at a time."""
MOST_BYTES = 20 * 10**9
"""What all files together may take; those that nobody has used for longest are removed first."""

Compute = Callable[[int, int], Tensor]
"""From the first row and the one behind the last of a piece to their numbers, float32 `(rows, …)`."""


def folder() -> Path:
    """Where the files are."""
    return cache_folder() / "features"


def once(key: str, rows: int, shape: Sequence[int], compute: Compute) -> Tensor:
    """The numbers called `key`, `(rows, *shape)`: mapped from their file, where what is missing is computed first.

    Raises OSError if the file can be neither written nor read.
    """
    folder().mkdir(parents=True, exist_ok=True)
    path = folder() / f"{key}.f32"
    pieces, row = math.ceil(rows / PIECE), math.prod(shape)
    marks = 4 * rows * row  # a byte per piece, behind the numbers
    if not path.exists():
        _make_room(marks + pieces)
    with _opened(path, marks + pieces) as file:
        while missing := [piece for piece, done in enumerate(os.pread(file, pieces, marks)) if not done]:
            claimed = [_fill(file, piece, marks, rows, compute) for piece in missing]
            if not any(claimed):  # all that is missing is being computed by others
                time.sleep(0.05)
        os.utime(file)  # used now
    return torch.from_file(str(path), shared=False, size=rows * row, dtype=torch.float32).view(rows, *shape)


def _fill(file: int, piece: int, marks: int, rows: int, compute: Compute) -> bool:
    """Compute a piece, write and mark it, unless somebody else is at it; whether it is there now."""
    import fcntl  # not on Windows, where models are served all the same

    mark = marks + piece
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, mark)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    try:
        if os.pread(file, 1, mark) != b"\1":
            first, behind = piece * PIECE, min(rows, (piece + 1) * PIECE)
            written = compute(first, behind).contiguous().numpy().tobytes()
            place = len(written) // (behind - first) * first
            while written:
                sent = os.pwrite(file, written, place)
                written, place = written[sent:], place + sent
            os.fdatasync(file)  # or a power cut could leave the mark without what it stands for
            os.pwrite(file, b"\1", mark)
        return True
    finally:
        fcntl.lockf(file, fcntl.LOCK_UN, 1, mark)


@contextlib.contextmanager
def _opened(path: Path, size: int) -> Iterator[int]:
    """The file at `path`, made with so many bytes of zeros if it is not there."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_size < size:
            os.ftruncate(descriptor, size)
        yield descriptor
    finally:
        os.close(descriptor)


def _make_room(more: int) -> None:
    """Remove the files that were used last longest ago, until `more` bytes fit. Who has one mapped keeps it."""
    found = []
    for path in folder().glob("*.f32"):
        with contextlib.suppress(FileNotFoundError):
            told = path.stat()
            found.append((told.st_mtime, told.st_size, path))
    total = sum(size for _, size, _ in found) + more
    for _, size, path in sorted(found):
        if total <= MOST_BYTES:
            return
        path.unlink(missing_ok=True)
        total -= size


def digest(photos: Tensor) -> str:
    """SHA-256 of `photos`, computed once for each tensor of a process."""
    known = _DIGESTS.get(id(photos))
    if known is None or known[0]() is not photos:
        hash_ = hashlib.sha256(str(tuple(photos.shape)).encode())
        hash_.update(photos.contiguous().numpy().data)
        known = (weakref.ref(photos), hash_.hexdigest())
        _DIGESTS[id(photos)] = known
    return known[1]


_DIGESTS: dict[int, tuple[weakref.ref[Tensor], str]] = {}
