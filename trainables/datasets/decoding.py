"""Many files of pictures made into images of one size: by all cores, into a file that is mapped, once for all runs."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import IO, Any

from trainables import pictures
from trainables.datasets import cache
from trainables.datasets.files import Found, shown
from trainables.datasets.source import SIDE, DataError, Reading, counted, listed

VERSION = 3
"""Of what is kept: another way of decoding needs another number."""

AT_ONCE = 64
"""Files that a core reads before it says so."""

HELD = 256 * 2**20
"""Bytes of small pictures that are held from the first look at them, so that their files are read once."""


@dataclass(frozen=True)
class Decoded:
    """The images `(N, C, H, W)` uint8 of those files that could be read: the `rows` `(N,)` of all.

    `image_size` is what they were fitted to, None if they have the size of their files. `hashes` `(N, 16)` uint8 are of
    their pixels. `broken` has path and reason of the other files, `notes` what had to be done, with counts.
    `key` names what they were made of, `sizes` and `kinds` count the files by what their heads say.
    """

    images: Any
    rows: Any
    hashes: Any
    image_size: int | None
    broken: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    key: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)
    kinds: Mapping[str, int] = field(default_factory=dict)


Opener = Callable[[int], IO[bytes]]
"""Opens one of the files by its number."""


def decode(files: Sequence[Found], reading: Reading, root: str, opener: Opener | None = None) -> Decoded:
    """Read all `files`, which lie below `root`; `opener` opens those that are no files of their own.

    Raises DataError if some are broken and may not be skipped; all are read before any is complained of, so that one
    message names them all.
    """
    key = _key(files, reading)
    before = cache.kept(key)
    if before is not None:
        about, images = before
        done = _decoded(about, images)
    else:
        room = cache.Room()

        def open_file(row: int) -> IO[bytes]:
            return open(files[row].path, "rb")

        try:
            with warnings.catch_warnings():
                pictures.prepare()
                warnings.simplefilter("ignore")  # Pillow warns of damaged EXIF and of large pictures, both dealt with
                done = _Decoder(files, reading, root, opener or open_file).decode(room, key)
        finally:
            room.leave()
    _refuse_broken(done.broken, len(files), reading, root)
    return done


def _key(files: Sequence[Found], reading: Reading) -> str:
    """What the images are made of, as a name for them."""
    import PIL

    made_as = f"{VERSION} {PIL.__version__} {reading.image_size} {reading.otherwise}"
    hash_ = hashlib.sha256(made_as.encode())
    for each in files:
        hash_.update(f"{each.path}\0{each.stamp}\n".encode(errors="surrogateescape"))
    return hash_.hexdigest()


def _decoded(about: Any, images: Any) -> Decoded:
    import numpy as np

    return Decoded(
        images,
        np.asarray(about["rows"], dtype=np.int64),
        np.frombuffer(bytes.fromhex(about["hashes"]), np.uint8).reshape(-1, 16),
        about["image_size"],
        tuple((path, why) for path, why in about["broken"]),
        tuple(about["notes"]),
        about["key"],
        about["sizes"],
        about["kinds"],
    )


@dataclass
class _Looked:
    """What the first look at a file found: its head, and the picture itself if it is small; or why it is none."""

    head: pictures.Head | None = None
    image: Any = None
    broken: str = ""


class _Decoder:
    """The files of one set, looked at and then decoded; what is found of each stands in `looked`."""

    def __init__(self, files: Sequence[Found], reading: Reading, root: str, opener: Opener) -> None:
        self.files, self.reading, self.root, self.opener = files, reading, root, opener
        self.looked = [_Looked(broken=each.broken) for each in files]
        self._held = 0

    def decode(self, room: cache.Room, key: str) -> Decoded:
        """All images, in `room`, and kept under `key`."""
        import numpy as np

        for _ in self._by_all_cores(self._look):
            pass
        heads = [each.head for each in self.looked if each.head is not None]
        if not heads:
            return Decoded(np.empty((0, 1, 1, 1)), np.empty(0, np.int64), np.empty((0, 16)), None, self._broken(), ())
        self.size = _size(heads, self.reading, self.root)
        width, height = (self.size, self.size) if self.size else heads[0].size
        self.shape = (1 if all(head.grey for head in heads) else 3, height, width)
        _check_limit(len(self.files) * math.prod(self.shape), self.reading, self.root)
        self.images = room.images((len(self.files), *self.shape))
        self.hashes = np.zeros((len(self.files), 16), np.uint8)
        done = len(self.files) - len(self._sound())
        for count in self._by_all_cores(self._finish):
            done += count
            self.reading.progress(done, len(self.files))
        rows = np.array(self._sound(), np.int64)
        _close_ranks(self.images, rows)
        heads = [head for row in rows.tolist() if (head := self.looked[row].head) is not None]
        about = {
            "rows": rows.tolist(),
            "hashes": self.hashes[rows].tobytes().hex(),
            "image_size": self.size,
            "broken": self._broken(),
            "notes": _notes(heads, self.shape, self.size),
            "key": key,
            "sizes": dict(Counter(f"{head.size[0]}×{head.size[1]}" for head in heads).most_common()),
            "kinds": dict(Counter(head.kind for head in heads).most_common()),
        }
        del self.images
        return _decoded(about, room.keep(key, about, len(rows)))

    def _sound(self) -> list[int]:
        return [row for row, each in enumerate(self.looked) if not each.broken]

    def _broken(self) -> tuple[tuple[str, str], ...]:
        both = zip(self.files, self.looked, strict=True)
        return tuple((shown(os.path.relpath(file.path, self.root)), each.broken) for file, each in both if each.broken)

    def _look(self, row: int) -> None:
        """Read the head of a file, and the pixels of a small picture."""
        each = self.looked[row]
        with self.opener(row) as file, pictures.opened(file) as picture:
            head = pictures.head(picture)
            width, height = picture.size
            takes = width * height * len(picture.getbands())
            if takes > self.reading.limit:
                raise pictures.Unreadable(
                    f"it would take {takes:,} bytes in memory, and {self.reading.limit:,} are allowed; --data-limit "
                    "allows more, if the machine has them"
                )
            if max(width, height) <= SIDE and self._held < HELD:
                each.image = pictures.decoded(picture, 1 if head.grey else 3)
                self._held += takes
            each.head = head

    def _finish(self, row: int) -> None:
        """Put the image of a file into its place."""
        import numpy as np

        image, self.looked[row].image = self.looked[row].image, None
        channels, height, width = self.shape
        if image is None:
            with self.opener(row) as file, pictures.opened(file) as picture:
                image = pictures.decoded(picture, channels, self.size)
        elif channels == 3 and image.mode != "RGB":
            image = image.convert("RGB")
        made = pictures.pixels(pictures.fitted(image, self.size) if self.size else image)
        if made.shape != self.shape:
            raise pictures.Unreadable(f"it has {made.shape[2]}×{made.shape[1]} pixels, others {width}×{height}")
        self.images[row] = made
        self.hashes[row] = np.frombuffer(hashlib.blake2b(self.images[row].data, digest_size=16).digest(), np.uint8)

    def _by_all_cores(self, work: Callable[[int], None]) -> Iterator[int]:
        """Do `work` for each file that is sound so far, with a thread for each core, and yield how many were done.

        Threads, because Pillow decodes without Python's lock. A file that cannot be read is broken from then on.
        """
        rows = self._sound()

        def several(start: int) -> int:
            some = rows[start : start + AT_ONCE]
            for row in some:
                try:
                    work(row)
                except (pictures.Unreadable, OSError) as error:
                    self.looked[row].broken = str(getattr(error, "strerror", None) or error)
            return len(some)

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            try:
                for ready in as_completed([threads.submit(several, at) for at in range(0, len(rows), AT_ONCE)]):
                    yield ready.result()
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise


def _size(heads: Sequence[pictures.Head], reading: Reading, root: str) -> int | None:
    """What the pictures are fitted to, None if they stay as they are."""
    if reading.image_size is not None:
        return reading.image_size
    sizes = Counter(head.size for head in heads)
    (width, height), _ = sizes.most_common(1)[0]
    if len(sizes) == 1 and (max(width, height) <= SIDE or reading.otherwise is None):
        return None
    if reading.otherwise is None:
        raise DataError(
            f"{shown(root)} holds pictures of {len(sizes)} sizes, but this search began with pictures of one size; put "
            "those back, or start a new search"
        )
    return reading.otherwise


def _check_limit(total: int, reading: Reading, root: str) -> None:
    if total > reading.limit:
        raise DataError(
            f"{shown(root)} would take {total:,} bytes in memory, and {reading.limit:,} are allowed; a smaller "
            "--image-size takes less, --data-limit allows more, if the machine has them"
        )


def _close_ranks(images: Any, rows: Any) -> None:
    """Move the images of `rows`, which rise, to the front."""
    for to, row in enumerate(rows.tolist()):
        if to != row:
            images[to] = images[row]


def _notes(heads: Sequence[pictures.Head], shape: tuple[int, int, int], size: int | None) -> list[str]:
    """What was done with pictures, a line for each kind with its count."""
    said = []
    sizes = Counter(head.size for head in heads)
    if size and sizes.keys() != {(size, size)}:
        (width, height), _ = sizes.most_common(1)[0]
        of = f"{width}×{height} pixels" if len(sizes) == 1 else f"{len(sizes):,} sizes"
        said.append(
            f"{counted(len(heads), 'picture')} of {of} made {size}×{size}: short side resized, middle cut out; "
            "--image-size N makes them N×N"
        )
        smaller = sum(min(head.size) < size for head in heads)
        if smaller:
            said.append(f"{counted(smaller, 'picture')} smaller than {size} pixels made larger")
    said += kind_notes(heads)
    grey = sum(head.grey for head in heads)
    if grey and shape[0] == 3:
        said.append(f"{counted(grey, 'picture')} in grey among others in colour: all are read in colour")
    return said


def kind_notes(heads: Sequence[pictures.Head]) -> list[str]:
    """What the pictures with these heads are, and what had to be done to read them, with counts."""
    said = []
    kinds = Counter(head.kind for head in heads)
    if len(kinds) > 1:
        said.append(
            "kinds of pictures, all read: " + ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
        )
    modes: Counter[str] = Counter()
    for head in heads:
        if head.turned:
            modes["turned upright, as their EXIF says"] += 1
        if head.transparent:
            modes["with transparency laid on white"] += 1
        if head.mode in ("I", "F") or head.mode.startswith("I;16"):
            modes["of more than 8 bits a pixel brought to 0 … 255"] += 1
        if head.mode not in ("L", "RGB", "P", "1", "LA", "RGBA", "PA", "I", "F") and not head.mode.startswith("I;16"):
            modes[f"converted from {head.mode} to RGB"] += 1
        if head.animated:
            modes["with several frames: the first is read"] += 1
    return said + [f"{counted(count, 'picture')} {what}" for what, count in modes.items()]


def _refuse_broken(broken: Sequence[tuple[str, str]], of: int, reading: Reading, root: str) -> None:
    """Raise DataError if files are broken and may not be skipped."""
    if broken and not reading.skip_broken:
        are = "is no readable image" if len(broken) == 1 else "are no readable images"
        raise DataError(
            f"{shown(root)}: {len(broken):,} of {counted(of, 'file')} {are}: {told(broken)}; mend or remove them, or "
            "give --skip-broken to leave them out"
        )


def told(broken: Sequence[tuple[str, str]]) -> str:
    """Broken files with their reasons: the first of them, and how many more there are."""
    return listed([f"{path} ({why})" for path, why in broken], most=10)
