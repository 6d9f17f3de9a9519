"""A folder as a tree of pictures, tables and the rest: what lies where, and what is passed over."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from trainables.datasets.source import DataError, counted, listed

SUFFIXES = frozenset(
    ".png .jpg .jpeg .jpe .jfif .mpo .bmp .dib .gif .webp .tif .tiff .avif .ppm .pgm .pbm .pnm".split()  # noqa: SIM905
)
"""Files with these suffixes, in any case, are pictures."""

UNREAD = frozenset(
    ".heic .heif .hif .svg .psd .jxl .jp2 .j2k .j2c .jpx .cr2 .cr3 .nef .arw .dng .orf .raf .rw2".split()  # noqa: SIM905
    + ".tga .pcx .exr .dds .qoi .xcf .dcm .dicom".split()  # noqa: SIM905
)
"""Files with these suffixes are pictures too, which cannot be read here; to pass them over would be to lose them."""

TABLES = frozenset((".csv", ".tsv", ".jsonl"))

LEFT_BY_SYSTEMS = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r", "@eadir"))

MOST_FILES = 5_000_000


@dataclass(frozen=True)
class Found:
    """A picture that was found: its path, and, if it is none that can be opened, why. `stamp` changes as it does."""

    path: str
    stamp: str
    broken: str = ""


@dataclass
class Folder:
    """A folder: its pictures, tables and folders, each sorted by name, and how many other files it has."""

    path: str
    name: str
    pictures: list[Found] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)
    others: int = 0

    def all_pictures(self) -> Iterator[Found]:
        """The pictures here and below, sorted by the names on their way."""
        if not self.folders:  # they are sorted, and may be many
            yield from self.pictures
            return
        entries: list[tuple[str, Found | Folder]] = [(os.path.basename(each.path), each) for each in self.pictures]
        entries += [(each.name, each) for each in self.folders]
        for _, each in sorted(entries, key=lambda entry: entry[0]):
            if isinstance(each, Folder):
                yield from each.all_pictures()
            else:
                yield each

    def has_tables(self) -> bool:
        """Whether there is a table here or in a folder here."""
        return bool(self.tables) or any(each.has_tables() for each in self.folders)

    def holds_pictures(self) -> bool:
        """Whether there is a picture here or below."""
        return bool(self.pictures) or any(each.holds_pictures() for each in self.folders)

    def holds_files(self) -> bool:
        """Whether there is any file here or below."""
        return bool(self.pictures or self.tables or self.others) or any(each.holds_files() for each in self.folders)


@dataclass
class Walk:
    """What a walk through a tree passes over, and how many files it has seen."""

    files: int = 0
    left: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    unnamed: Counter[str] = field(default_factory=Counter)

    def folder(self, path: str, above: tuple[tuple[int, int], ...] = ()) -> Folder:
        """The tree at `path`. Raises DataError for one that cannot be read, or that is endless."""
        try:
            here = os.stat(path)
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{shown(path)} cannot be read ({error.strerror})") from None
        me = (here.st_dev, here.st_ino)
        if me in above:
            raise DataError(f"{shown(path)} is a link to a folder that it lies in; remove it")
        made = Folder(path, os.path.basename(path.rstrip(os.sep)))
        for entry in entries:
            if entry.name.startswith(".") or entry.name.casefold() in LEFT_BY_SYSTEMS:
                self.left.append(entry.name)
            elif entry.is_dir():
                made.folders.append(self.folder(entry.path, (*above, me)))
            else:
                self._file(entry, made)
        return made

    def _file(self, entry: os.DirEntry[str], into: Folder) -> None:
        self.files += 1
        if self.files > MOST_FILES:
            raise DataError(f"{shown(into.path)} and what lies beside it are more than {MOST_FILES:,} files")
        suffix = os.path.splitext(entry.name)[1].lower().rstrip(".")
        if suffix in TABLES:
            into.tables.append(entry.path)
            return
        try:
            told = entry.stat()
        except OSError:
            into.pictures.append(Found(entry.path, "", "it is a link that leads nowhere"))
            return
        regular = stat.S_ISREG(told.st_mode)
        if suffix not in SUFFIXES and suffix not in UNREAD:
            if not regular or not _begins_like_a_picture(entry.path):
                self.others[suffix or "without suffix"] += 1
                into.others += 1
                return
            self.unnamed[suffix or "without suffix"] += 1
        broken = ""
        if not regular:
            broken = "it is no file but a pipe or a device"
        elif suffix in UNREAD:
            broken = f"{suffix} is not read here; save it as JPEG or PNG"
        stamp = f"{told.st_size} {told.st_mtime_ns} {told.st_ctime_ns} {told.st_ino}"
        into.pictures.append(Found(entry.path, stamp, broken))

    def notes(self) -> list[str]:
        """What was passed over, a line for each kind."""
        said = []
        if self.left:
            names = [name for name, _ in Counter(self.left).most_common()]
            said.append(f"{counted(len(self.left), 'hidden file or folder', 'hidden files and folders')} passed over: "
                        + listed([shown(name) for name in names]))  # fmt: skip
        if self.others:
            total = sum(self.others.values())
            kinds = [f"{count:,} {shown(kind)}" for kind, count in self.others.most_common()]
            said.append(f"{counted(total, 'file')} of other kinds passed over: {listed(kinds)}")
        if self.unnamed:
            total = sum(self.unnamed.values())
            kinds = [f"{count:,} {shown(kind)}" for kind, count in self.unnamed.most_common()]
            said.append(f"{counted(total, 'file')} without a picture's suffix are pictures, and read: {listed(kinds)}")
        return said


def _begins_like_a_picture(path: str) -> bool:
    """Whether the first bytes are those of a JPEG, PNG, GIF, WebP, TIFF, BMP, PNM, AVIF or HEIC."""
    try:
        with open(path, "rb") as file:
            start = file.read(12)
    except OSError:
        return False
    known = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*")
    boxes = (b"ftypavif", b"ftypavis", b"ftypheic", b"ftypheix", b"ftypmif1")
    return (
        start.startswith(known)
        or (start[:4] == b"RIFF" and start[8:] == b"WEBP")
        or (start[:2] == b"BM" and start[6:10] == bytes(4))
        or re.match(rb"P[1-6]\s[\d#]", start) is not None
        or start[4:12] in boxes
    )


def is_pointer(path: str | os.PathLike[str]) -> bool:
    """Whether a file is what Git LFS leaves in place of a large file that it did not fetch."""
    with open(path, "rb") as file:
        return file.read(24) == b"version https://git-lfs."


def shown(path: str) -> str:
    r"""A path for people and records: what is no UTF-8 in it is written out, as `\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
