"""Zip and tar files, and gzipped tables: unpacked once into the cache folder, with care, and read there as a folder."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import uuid
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO, cast

from trainables.cache import cache_folder
from trainables.datasets.files import shown
from trainables.datasets.source import DataError, Reading

LONE = (".csv.gz", ".tsv.gz")
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", *LONE)

MOST_MEMBERS = 5_000_000

BLOCK = 2**20


def is_archive(path: Path) -> bool:
    """Whether `path` is called like a zip or tar file, or a gzipped table."""
    return path.name.casefold().endswith(SUFFIXES)


def unpacked(path: Path, reading: Reading) -> Path:
    """The folder in the cache that holds what is in the archive `path`; unpacked now if it was not before.

    Only files and folders below the archive's root are taken: links, devices and paths that lead out are refused.
    Raises DataError, also for an archive that unpacks to more than `reading.limit` bytes.
    """
    told = path.stat()
    name = f"{path.resolve()} {told.st_size} {told.st_mtime_ns} {told.st_ctime_ns} {told.st_ino}"
    place = cache_folder() / "unpacked"
    final = place / hashlib.sha256(os.fsencode(name)).hexdigest()
    if final.is_dir():
        return final
    aside = place / f".{uuid.uuid4().hex}"
    try:
        aside.mkdir(parents=True)
        if path.name.casefold().endswith(LONE):
            with gzip.open(path) as source:
                _Budget(path, reading.limit).copy(cast(IO[bytes], source), aside / path.name[: -len(".gz")])
        elif zipfile.is_zipfile(path):
            _zip(path, aside, reading.limit)
        else:
            _tar(path, aside, reading.limit)
        aside.rename(final)
    except DataError:
        raise
    except Exception as error:  # zipfile, tarfile and the decompressors raise a dozen kinds for damaged files
        if final.is_dir():  # another process was as far
            return final
        raise DataError(f"{shown(str(path))} cannot be unpacked ({' '.join(str(error).split())[:200]})") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return final


class _Budget:
    """How much may still be unpacked."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path, self._limit, self._spent, self._members = path, limit, 0, 0

    def member(self, size: int) -> None:
        """One more, of `size` bytes as announced."""
        self._members += 1
        if self._members > MOST_MEMBERS:
            raise DataError(f"{shown(str(self._path))} has more than {MOST_MEMBERS:,} members")
        if self._spent + size > self._limit:
            raise self._too_large()

    def copy(self, source: IO[bytes], to: Path) -> None:
        """Write what `source` holds, and count it."""
        to.parent.mkdir(parents=True, exist_ok=True)
        with to.open("xb") as file:
            while block := source.read(BLOCK):
                self._spent += len(block)
                if self._spent > self._limit:
                    raise self._too_large()
                file.write(block)

    def _too_large(self) -> DataError:
        return DataError(
            f"{shown(str(self._path))} unpacks to more than {self._limit:,} bytes, which are allowed; --data-limit "
            "allows more, if the disk has them"
        )


def _zip(path: Path, into: Path, limit: int) -> None:
    budget = _Budget(path, limit)
    with zipfile.ZipFile(path) as archive:
        members = [each for each in archive.infolist() if not each.is_dir()]
        if sum(each.file_size for each in members) > limit:
            budget.member(limit + 1)
        for each in members:
            if (each.external_attr >> 16) & 0o170000 == 0o120000:
                raise DataError(f"{shown(str(path))}: {each.filename[:200]!r} is a link; unpack it and give the folder")
            if each.flag_bits & 1:
                raise DataError(f"{shown(str(path))} is encrypted; unpack it with its password, and give the folder")
            budget.member(each.file_size)
            with archive.open(each) as source:
                budget.copy(source, into / _inside(path, each.filename))


def _tar(path: Path, into: Path, limit: int) -> None:
    budget = _Budget(path, limit)
    with tarfile.open(path) as archive:
        for each in archive:
            if each.isdir():
                continue
            if not each.isreg():
                raise DataError(
                    f"{shown(str(path))}: {each.name[:200]!r} is a link or a device; unpack it and give the folder"
                )
            budget.member(each.size)
            source = archive.extractfile(each)
            assert source is not None
            with source:
                budget.copy(source, into / _inside(path, each.name))


def _inside(path: Path, name: str) -> PurePosixPath:
    """`name` as a path below the archive's root. Raises DataError for one that leads out of it."""
    inner = PurePosixPath(name.replace("\\", "/"))
    if inner.is_absolute() or ".." in inner.parts or "\0" in name or not inner.parts:
        raise DataError(f"{shown(str(path))}: {name[:200]!r} leads out of the archive; pack it again")
    return inner
