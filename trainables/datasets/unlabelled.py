"""Pictures of which nobody says what they are: files, folders, archives and arrays, read as a search reads its data."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from trainables import pictures
from trainables.datasets import array_files
from trainables.datasets.archives import is_archive, unpacked
from trainables.datasets.arrays import meaning
from trainables.datasets.decoding import kind_notes
from trainables.datasets.files import Walk, shown
from trainables.datasets.levels import to_levels
from trainables.datasets.source import LIMIT, DataError, Reading, counted, listed
from trainables.request import BATCH, BRIGHT, WANTED, Intake

Batch = tuple[list[str], Any]
"""Names of pictures, and the pictures as a network takes them, `(n, C, H, W)`."""


class Unlabelled:
    """The pictures at some paths, a batch at a time; `broken`, with reasons, and `notes` are whole once all were read.

    A path is a picture, a folder of pictures, a zip or tar of them, or a file of arrays; a picture in an array is named
    `file.npz[x][7]`. Raises DataError at once for a path where nothing is, later for arrays that are no pictures.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]], intake: Intake, *, limit: int = LIMIT) -> None:
        self.broken: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self._intake, self._limit = intake, limit
        self._heads: list[pictures.Head] = []
        self._paths = [Path(path) for path in paths]
        for path in self._paths:
            if not os.path.lexists(path):
                raise DataError(f"no file and no folder at {shown(str(path))}")

    def batches(self) -> Iterator[Batch]:
        """All pictures, in the order of the paths, and in a folder by name."""
        files: list[tuple[str, str]] = []
        for path in self._paths:
            if path.suffix.casefold() in array_files.SUFFIXES and path.is_file():
                yield from self._files(files)
                files = []
                yield from self._arrays(path)
            elif path.is_dir() or is_archive(path):
                files += self._folder(path)
            else:
                files.append((shown(str(path)), str(path)))
        yield from self._files(files)
        self.notes += self._of_pictures()

    def _folder(self, path: Path) -> list[tuple[str, str]]:
        """Name and path of each picture in a folder, or in an archive."""
        inner = path if path.is_dir() else unpacked(path, Reading(limit=self._limit))
        walk = Walk()
        found = list(walk.folder(str(inner)).all_pictures())
        if not found:
            others = "".join(f"; {each}" for each in walk.notes())
            raise DataError(f"{shown(str(path))} holds no pictures{others}")
        self.notes += walk.notes()
        named = [(shown(os.path.join(path, os.path.relpath(each.path, inner))), each) for each in found]
        self.broken += [(name, each.broken) for name, each in named if each.broken]
        return [(name, each.path) for name, each in named if not each.broken]

    def _files(self, files: Sequence[tuple[str, str]]) -> Iterator[Batch]:
        """Pictures that are files of their own, decoded by all cores: Pillow does so without Python's lock."""
        if files and self._intake.numbers:
            raise DataError("this model takes numbers, as an .npz of (N, features), and no pictures")
        for start in range(0, len(files), BATCH):
            some = files[start : start + BATCH]
            with warnings.catch_warnings(), ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
                pictures.prepare()
                warnings.simplefilter("ignore")  # Pillow warns of damaged EXIF and of large pictures, both dealt with
                read = list(threads.map(self._read, some))
            yield from self._sound([name for name, _ in some], read)

    def _sound(self, names: Sequence[str], read: Sequence[tuple[pictures.Head | None, Any, str]]) -> Iterator[Batch]:
        import numpy as np

        self.broken += [(name, why) for name, (_, _, why) in zip(names, read, strict=True) if why]
        self._heads += [head for head, _, why in read if head is not None and not why]
        kept = [(name, image) for name, (_, image, why) in zip(names, read, strict=True) if not why]
        if kept:
            made = np.stack([image for _, image in kept])
            self._intake.check_range(made, self._note)
            yield [name for name, _ in kept], made

    def _read(self, file: tuple[str, str]) -> tuple[pictures.Head | None, Any, str]:
        """Head and image of a file, or why it is none."""
        try:
            with open(file[1], "rb") as stored, pictures.opened(io.BytesIO(stored.read())) as picture:
                return pictures.head(picture), pictures.image_of_picture(picture, self._intake.shape), ""
        except pictures.Unreadable as error:
            return None, None, str(error)
        except OSError as error:
            return None, None, error.strerror or str(error)

    def _arrays(self, path: Path) -> Iterator[Batch]:
        """The pictures in a file of arrays: all arrays that are called like images, or the only one there is."""
        where = shown(str(path))
        arrays = array_files.load(path, self._limit)
        named = {name: meaning(name) for name in arrays}
        images = [name for name, found in named.items() if found and found[0] == "x"]
        if not images and len(arrays) == 1:
            images = list(arrays)
        left = [name for name in arrays if name not in images]
        if not images:
            raise DataError(f"{where} has no array called x or images, but {listed(sorted(arrays)) or 'nothing'}")
        if left:
            self._note(f"{where}: {counted(len(left), 'array')} passed over: {listed(sorted(left))}")
        for name in images:
            label = where if len(arrays) == 1 else f"{where}[{name}]"
            yield from self._array(arrays[name], name, label)

    def _array(self, array: Any, name: str, label: str) -> Iterator[Batch]:
        try:
            for start, made in self._made(array, name, label):
                yield [f"{label}[{start + row}]" for row in range(len(made))], made
        except pictures.Unreadable as error:
            raise DataError(f"{label}: {error}") from None

    def _made(self, array: Any, name: str, label: str) -> Iterator[tuple[int, Any]]:
        """The pictures of an array with the number of the first, some at a time; numbers are taken as they are."""
        start = 0
        if not self._intake.numbers:
            if array.ndim == 2 and array.shape == self._intake.shape[1:]:
                array = array[None]
            if not len(array):
                return
            self._check_shares(array, label)
            levels, said = to_levels({"train": array}, {"train": name}, label)
            for each in said:
                self._note(f"{label}: {each}")
            array = levels["train"].transpose(0, 2, 3, 1)
        for made in self._intake.batches(array, self._note):
            yield start, made
            start += len(made)

    def _check_shares(self, array: Any, label: str) -> None:
        """Refuse what a search reads as shares of 255, where this model's levels go only as far as to 16, say."""
        if array.dtype.kind == "f" and self._intake.brightest < BRIGHT and array.size and float(array.max()) <= 1:
            raise DataError(
                f"{label} has numbers up to {float(array.max()):g}, and this model was trained on grey levels up to "
                f"{self._intake.brightest}; {WANTED.partition(',')[0].replace('255', str(self._intake.brightest))}"
            )

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _of_pictures(self) -> list[str]:
        """What was done with pictures that are files, with counts."""
        channels, height, width = self._intake.shape
        fitted = sum(head.size != (width, height) for head in self._heads)
        said = []
        if fitted:
            said.append(f"{counted(fitted, 'picture')} of another size made {width}×{height}: middle cut out, resized")
        coloured = sum(not head.grey for head in self._heads)
        if coloured and channels == 1:
            said.append(f"{counted(coloured, 'picture')} in colour made grey, as this model takes them")
        return said + kind_notes(self._heads)
