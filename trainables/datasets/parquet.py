"""Parquet as Hugging Face stores pictures: a column of files' bytes, one of labels, the parts in the files' names."""

from __future__ import annotations

import io
import json
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from trainables.cache import cache_folder
from trainables.datasets.files import Found, is_pointer, shown
from trainables.datasets.folders import listed_pictures
from trainables.datasets.label_table import LABELS
from trainables.datasets.layout import Entry, Listing, part_named
from trainables.datasets.source import DataError, Reading, Source, counted, listed

FINE = ("fine_label", "coarse_label")

UNKNOWN = "-1"
"""What Hugging Face has for the label of a picture whose label is kept back."""


def parquet_files(name: str, where: str, root: Path, paths: Sequence[Path], reading: Reading) -> Source:
    """The set in the Parquet files `paths`, which lie below `root`. Raises DataError."""
    listing = Listing(shown(str(root)))
    _refuse_several_sets(where, root, paths)
    tables = [_Table(path) for path in paths]
    ordered: list[tuple[_Table, int]] = []
    for part in ("train", "val", "test"):
        for table in tables:
            if part != (table.part(root) if len(tables) > 1 else "train"):
                continue
            entries = table.entries(reading.group_by, listing.notes)
            if table.coarse and table.coarse not in listing.notes:
                listing.notes.append(table.coarse)
            if part != "train" and entries and {entry.label for entry in entries} == {UNKNOWN}:
                listing.warnings.append(
                    f"the {counted(len(entries), 'picture')} of {shown(table.path.name)} have no labels: passed over"
                )
                continue
            listing.parts.setdefault(part, []).extend(entries)
            ordered += [(table, row) for row in range(len(entries))]
    named = next((table.names for table in tables if table.names), None)
    if named:
        used = {entry.label for entry in listing.parts.get("train", ())}
        listing.classes = tuple(each for each in named if each in used)

    def open_row(number: int) -> IO[bytes]:
        table, row = ordered[number]
        return table.open(row, reading.limit)

    try:
        return listed_pictures(name, where, listing, reading, open_row, base=str(root))
    finally:
        for table in tables:
            table.close()


def _refuse_several_sets(where: str, root: Path, paths: Sequence[Path]) -> None:
    """Raise DataError if several folders have a train part each: they are sets of their own, as configurations are."""
    sets = set()
    for path in paths:
        folders = path.relative_to(root).parts[:-1]
        before = next((at for at, name in enumerate(folders) if part_named(name)), len(folders))
        if next((part for name in [path.stem, *folders] if (part := part_named(name))), "") == "train":
            sets.add("/".join(folders[:before]))
    if len(sets) > 1:
        raise DataError(
            f"{where} holds several sets in Parquet files, in the folders "
            f"{listed([shown(each) for each in sorted(sets)])}; give one of them"
        )


class _Table:
    """One Parquet file: its labels now, its pictures when they are asked for."""

    def __init__(self, path: Path) -> None:
        from pyarrow import ArrowException, parquet

        self.path = path
        self._lock = threading.Lock()
        self._spool: IO[bytes] | None = None
        self._bounds: list[tuple[int, int]] = []
        try:
            self._file = parquet.ParquetFile(path)
        except (ArrowException, OSError) as error:
            if is_pointer(path):
                raise DataError(
                    f"{shown(str(path))} is a pointer of Git LFS; `git lfs pull` fetches the file"
                ) from None
            raise DataError(
                f"{shown(str(path))} cannot be read as Parquet ({' '.join(str(error).split())[:200]}); copy it again"
            ) from None
        self._pictures = self._picture_column()
        self._labels = self._label_column()
        self.names = self._class_names()

    def _picture_column(self) -> str:
        import pyarrow as pa

        for column in self._file.schema_arrow:
            kind = column.type
            if pa.types.is_struct(kind) and "bytes" in [kind.field(at).name for at in range(kind.num_fields)]:
                return str(column.name)
        for column in self._file.schema_arrow:
            if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
                return str(column.name)
        columns = listed(self._file.schema_arrow.names)
        raise DataError(f"{shown(str(self.path))} has no column with the bytes of pictures; it has {columns}")

    def _label_column(self) -> str:
        names = {name.casefold(): name for name in self._file.schema_arrow.names if name != self._pictures}
        for each in (*LABELS, *FINE):
            if each in names:
                return names[each]
        if len(names) == 1:
            return next(iter(names.values()))
        raise DataError(
            f"{shown(str(self.path))} has no column of labels; call it `label`; it has {listed(sorted(names))}"
        )

    @property
    def coarse(self) -> str:
        """What is to be said of a second column of labels; "" without one."""
        others = [name for name in self._file.schema_arrow.names if name.casefold() in FINE and name != self._labels]
        return f"the column {self._labels} is read as labels, and {listed(others)} passed over" if others else ""

    def _class_names(self) -> list[str] | None:
        """The names of the classes, as Hugging Face keeps them in the file's head."""
        try:
            told = json.loads((self._file.schema_arrow.metadata or {})[b"huggingface"])
            names = told["info"]["features"][self._labels]["names"]
        except (KeyError, ValueError, TypeError):
            return None
        return [str(name) for name in names] if isinstance(names, list) else None

    def part(self, root: Path) -> str:
        """The part that the file names itself after, or a folder between it and `root`."""
        named = [self.path.stem, *reversed(self.path.relative_to(root).parts[:-1])]
        return next((part for name in named if (part := part_named(name))), "train")

    def entries(self, group_by: str | None, notes: list[str]) -> list[Entry]:
        """A picture for each row, with its label and group."""
        columns = [self._labels, *([group_by] if group_by in self._file.schema_arrow.names else [])]
        table = self._file.read(columns=columns)
        labels = table.column(self._labels).to_pylist()
        groups = table.column(group_by).to_pylist() if len(columns) == 2 else [None] * len(labels)
        if any(label is None for label in labels):
            raise DataError(f"{shown(str(self.path))}: {sum(label is None for label in labels):,} rows have no label")
        if isinstance(labels[0] if labels else "", (list, dict)):
            raise DataError(f"{shown(str(self.path))}: {self._labels} must be one label per picture")
        if self.names:
            kept_back = set(labels) == {int(UNKNOWN)}
            if not kept_back and not all(isinstance(label, int) and 0 <= label < len(self.names) for label in labels):
                raise DataError(
                    f"{shown(str(self.path))}: {self._labels} has labels outside 0 to {len(self.names) - 1}"
                )
            if not kept_back:
                labels = [self.names[label] for label in labels]
        told = self.path.stat()
        stamp = f"{told.st_size} {told.st_mtime_ns} {told.st_ctime_ns} {told.st_ino}"
        return [
            Entry(Found(f"{self.path} row {row}", f"{stamp} {row}"), str(label), None if group is None else str(group))
            for row, (label, group) in enumerate(zip(labels, groups, strict=True))
        ]

    def open(self, row: int, limit: int) -> IO[bytes]:
        """The picture of a row. The first time, all are put into a file without a name, where any can be reached."""
        with self._lock:
            if self._spool is None:
                self._unpack(limit)
        if row >= len(self._bounds):  # another thread met the limit
            raise DataError(f"{shown(str(self.path))} could not be unpacked")
        start, end = self._bounds[row]
        assert self._spool is not None
        return io.BytesIO(os.pread(self._spool.fileno(), end - start, start))

    def _unpack(self, limit: int) -> None:
        place = cache_folder()
        place.mkdir(parents=True, exist_ok=True)
        self._spool = tempfile.TemporaryFile(dir=place)  # noqa: SIM115 - closed by `close`
        at = 0
        for batch in self._file.iter_batches(batch_size=256, columns=[self._pictures]):
            for cell in batch.column(0).to_pylist():
                content = (cell.get("bytes") if isinstance(cell, dict) else cell) or b""
                self._spool.write(content)
                self._bounds.append((at, at + len(content)))
                at += len(content)
                if at > limit:
                    raise DataError(
                        f"{shown(str(self.path))} unpacks to more than {limit:,} bytes of files; --data-limit allows "
                        "more, if the disk has them"
                    )
        self._spool.flush()

    def close(self) -> None:
        """Let go of what was unpacked."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        self._file.close()
