"""Pictures once they are decoded: kept in files that are mapped into memory, so that the next run need not decode them.

An entry is a folder named after what it was made of: the files (by path, size, time of change and inode), what they
were to become, and the version of the decoder. Processes of one machine share the pages of what they map. An entry that
nobody has used for `DAYS` is removed when another is made; who removes the whole folder loses time and nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from trainables.cache import cache_folder

DAYS = 30
IMAGES, ABOUT = "images.u8", "about.json"


def folder() -> Path:
    """Where the entries lie."""
    return cache_folder() / "pictures"


def kept(key: str) -> tuple[Mapping[str, Any], Any] | None:
    """What was kept under `key`, and its images `(N, C, H, W)` uint8, mapped; None if nothing sound is there."""
    import numpy as np

    entry = folder() / key
    try:
        about = json.loads((entry / ABOUT).read_text())
        told = (entry / IMAGES).stat()
        if [told.st_size, told.st_mtime_ns] != about["file"]:
            return None
        images = np.memmap(entry / IMAGES, np.uint8, "r", shape=tuple(about["shape"]))
        os.utime(entry / ABOUT)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return about, images


def tensor(images: Any) -> Tensor:
    """Mapped images as a tensor. They cannot be written to, which torch tells once and `read_only` heeds."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(images)


LEAST = 4_000_000
"""Images that take fewer bytes are decoded again sooner than they are looked up, so they are not kept."""


class Room:
    """Room for images that are being made: a file under a name of its own until `keep`, or memory.

    Memory is used where no file can be written, and for what takes less than `LEAST` bytes.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._images: Any = None

    def images(self, shape: tuple[int, ...]) -> Any:
        """Room for uint8 images of `shape`: a mapped file; memory where none can be written. Call it once."""
        import numpy as np

        size = _product(shape)
        if size < LEAST:
            self._images = np.empty(shape, np.uint8)
            return self._images
        try:
            place = folder() / f".{uuid.uuid4().hex}"
            place.mkdir(parents=True)
            self._folder = place
            with (place / IMAGES).open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)  # a disk that fills up later would end the process
            self._images = np.memmap(place / IMAGES, np.uint8, "r+", shape=shape)
        except OSError:
            self.leave()
            self._images = np.empty(shape, np.uint8)
        return self._images

    def keep(self, key: str, about: Mapping[str, Any], count: int) -> Any:
        """Keep the first `count` images under `key`, and return them as `kept` would."""
        images = self._images[:count]
        if self._folder is None:
            return images
        shape = images.shape
        self._images.flush()
        self._images = images = None
        file = self._folder / IMAGES
        os.truncate(file, _product(shape))
        told = file.stat()
        document = {**about, "shape": list(shape), "file": [told.st_size, told.st_mtime_ns]}
        (self._folder / ABOUT).write_text(json.dumps(document))
        shutil.rmtree(folder() / key, ignore_errors=True)
        with suppress(OSError):  # another process was as far, with the same
            self._folder.rename(folder() / key)
        found = kept(key)
        if found is None:  # and is just about to put its own there
            import numpy as np

            return np.array(np.memmap(file, np.uint8, "r", shape=shape))
        _remove_old()
        return found[1]

    def leave(self) -> None:
        """Give up the room."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def write(
    key: str, shape: tuple[int, ...], first: int, blocks: Iterable[tuple[Any, Any]], about: Callable[[], dict[str, Any]]
) -> tuple[Mapping[str, Any], Any] | None:
    """Keep images of `shape` in two runs, of which the `first` are of one kind; `blocks` brings some of both at a time.

    Nothing is mapped while they are written. `about` is asked when all are there. None where no file can be written.
    """
    place = folder() / f".{uuid.uuid4().hex}"
    try:
        place.mkdir(parents=True)
        with (place / IMAGES).open("wb") as one, (place / IMAGES).open("r+b") as other:
            os.posix_fallocate(one.fileno(), 0, _product(shape))
            other.seek(first * _product(shape[1:]))
            for block, held in blocks:
                one.write(block.data)
                other.write(held.data)
        told = (place / IMAGES).stat()
        document = {**about(), "shape": list(shape), "file": [told.st_size, told.st_mtime_ns]}
        (place / ABOUT).write_text(json.dumps(document))
        shutil.rmtree(folder() / key, ignore_errors=True)
        place.rename(folder() / key)
    except OSError:  # no room, or another process was as far
        shutil.rmtree(place, ignore_errors=True)
    _remove_old()
    return kept(key)


def _product(shape: Iterable[int]) -> int:
    total = 1
    for each in shape:
        total *= each
    return total


def _remove_old() -> None:
    """Remove the entries that nobody has used for long, and what processes left behind that died."""
    with suppress(OSError):
        for entry in folder().iterdir():
            about = entry / ABOUT
            used = about.stat().st_mtime if about.exists() else entry.stat().st_mtime
            if time.time() - used > DAYS * 86_400:
                shutil.rmtree(entry, ignore_errors=True)
