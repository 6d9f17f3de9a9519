"""Pictures beside a table of their labels: a column of paths, names or ids, and one of labels.

`labels.csv`, or `metadata.jsonl` as Hugging Face's image folders have it.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from trainables.datasets.files import Folder, Found, Walk, shown
from trainables.datasets.layout import PARTS, Entry, Listing, part_named
from trainables.datasets.source import DataError, counted, listed

LABELS = (
    "label", "labels", "class", "classes", "class_name", "classname", "label_name", "category", "target", "y", "breed",
    "species", "diagnosis", "tag", "dx",
)  # fmt: skip
"""What people call the column of labels, the likeliest first."""

SPLITS = ("split", "set", "subset", "part", "partition", "fold_name", "usage")

MOST_BYTES = 500_000_000


@dataclass
class Table:
    """The rows of a table, each as long as its `header`."""

    path: str
    header: list[str]
    rows: list[list[str]]

    def column(self, name: str) -> list[str]:
        """The values of a column."""
        index = self.header.index(name)
        return [row[index] for row in self.rows]


@dataclass
class Names:
    """Pictures by their paths, and by the names that a table may have for them; one for two pictures means none."""

    by_path: dict[str, Found] = field(default_factory=dict)
    by_name: dict[str, Found | None] = field(default_factory=dict)

    @classmethod
    def of(cls, pictures: Iterable[Found], roots: Sequence[str]) -> Names:
        """The names of `pictures`: paths from one of `roots` on, the name alone, with and without suffix."""
        names = cls()
        for each in pictures:
            paths = {os.path.relpath(each.path, root).replace(os.sep, "/") for root in roots}
            base = os.path.basename(each.path)
            names.by_path[each.path] = each
            for name in {*paths, *(_stem(path) for path in paths), base, _stem(base)}:
                known = names.by_name.get(name, each)
                names.by_name[name] = each if known is each else None
        return names

    def get(self, text: str, folder: str) -> Found | None:
        """The picture that a cell of a table in `folder` names: seen from there, or from where all begins."""
        name = text.strip().replace("\\", "/").removeprefix("./")
        beside = self.by_path.get(os.path.join(folder, name))
        if beside is not None:
            return beside
        return self.by_name.get(name) or self.by_name.get(PurePosixPath(name).name)


def labelled(folder: Folder, walk: Walk, group_by: str | None) -> Listing | None:
    """The pictures below `folder` with the labels of the tables there; None if no table names pictures.

    A table is of the part that it, or the folder that it lies in, is named after (`train.csv`, `test/metadata.jsonl`),
    or has a column `split`.
    A row without a picture is a broken file. Raises DataError.
    """
    base = folder
    while not base.tables and len(base.folders) == 1:
        base = base.folders[0]
    paths = [*base.tables, *(table for each in base.folders for table in each.tables)]
    if not paths:
        return None
    pictures = list(base.all_pictures())
    names = Names.of(pictures, [base.path, *(each.path for each in base.folders)])
    listing, named = Listing(base.path), set()
    for path in paths:
        entries = _of_table(read_table(path), names, listing, group_by)
        for part, of_part in entries.items():
            listing.parts.setdefault(part, []).extend(of_part)
            named |= {entry.found.path for entry in of_part}
    if not listing.parts.get("train"):
        return None
    for part in ("val", "test"):
        if not listing.parts.get(part):
            listing.parts.pop(part, None)
    without = sum(each.path not in named for each in pictures)
    if without:
        listing.warnings.append(f"{counted(without, 'picture')} that no table has a label for: left out")
    listing.notes += walk.notes()
    return listing


def read_head(path: str) -> list[str]:
    """The cells of the first line of a table. Raises DataError."""
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            first = file.readline(1_000_000)
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read as a table ({error.strerror})") from None
    return [cell.strip() for cell in next(csv.reader([first], delimiter=_delimiter(first)), [])]


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def read_table(path: str) -> Table:
    """The table in a file with commas, semicolons or tabs, or with a JSON object in each line. Raises DataError."""
    try:
        if os.path.getsize(path) > MOST_BYTES:
            raise DataError(f"{shown(path)} is larger than {MOST_BYTES:,} bytes, so it is no table of labels")
        if path.lower().endswith(".jsonl"):
            return _json_lines(path)
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            delimiter = _delimiter(file.readline(1_000_000))
            file.seek(0)
            rows = [row for row in csv.reader(file, delimiter=delimiter) if row]
    except (OSError, csv.Error) as error:
        raise DataError(f"{shown(path)} cannot be read as a table ({error})") from None
    if not rows:
        return Table(path, [], [])
    header = [name.strip() for name in rows[0]]
    return Table(path, header, [row for row in rows[1:] if len(row) == len(header)])


def _json_lines(path: str) -> Table:
    """Objects, one in each line, as rows; columns of lists and objects within (boxes, captions) are left out."""
    found: list[dict[str, object]] = []
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                each = json.loads(line)
            except (ValueError, RecursionError):
                each = None
            if not isinstance(each, dict):
                raise DataError(f"{shown(path)}: line {number} is no JSON object; write one for each picture")
            found.append(each)
    header = list(dict.fromkeys(name for each in found for name in each))
    header = [name for name in header if not any(isinstance(each.get(name), (list, dict)) for each in found)]
    return Table(path, header, [[_cell(each.get(name)) for name in header] for each in found])


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def _of_table(table: Table, names: Names, listing: Listing, group_by: str | None) -> dict[str, list[Entry]]:
    """The entries of a table, by part; none if it names no pictures or has no labels, which is said."""
    folder = os.path.dirname(table.path)
    if any(names.get(cell, folder) is not None for cell in table.header):
        listing.notes.append(
            f"{shown(os.path.basename(table.path))} has no line of names: its first line is a picture's"
        )
        columns = [f"column {number}" for number in range(1, len(table.header) + 1)]
        table = Table(table.path, columns, [table.header, *table.rows])
    hits = {name: sum(names.get(cell, folder) is not None for cell in table.column(name)) for name in table.header}
    of_files = max(hits, key=lambda name: hits[name], default=None)
    if of_files is None or not hits[of_files]:
        listing.notes.append(f"{shown(os.path.basename(table.path))} names no pictures: passed over")
        return {}
    labels = _labels(table, of_files, group_by)
    if labels is None:
        listing.warnings.append(f"{shown(os.path.basename(table.path))} has no labels: passed over")
        return {}
    groups = table.column(group_by) if group_by in table.header else [None] * len(table.rows)
    parts = _part_of_rows(table)
    entries: dict[str, list[Entry]] = {}
    for cell, label, group, part in zip(table.column(of_files), labels, groups, parts, strict=True):
        missing = Found(os.path.join(listing.root, cell), "", "it is named in a table, and there is no such picture")
        found = names.get(cell, folder) or missing
        entries.setdefault(part, []).append(Entry(found, label.strip(), group))
    return entries


def _labels(table: Table, of_files: str, group_by: str | None) -> list[str] | None:
    """The labels of all rows; None if there is no column of them. Raises DataError if several could be it."""
    lower = {name.casefold(): name for name in table.header}
    for name in LABELS:
        if name in lower and lower[name] not in (of_files, group_by):
            return table.column(lower[name])
    left = [name for name in table.header if name not in (of_files, group_by) and name.casefold() not in SPLITS]
    if len(left) == 1:
        return table.column(left[0])
    if len(left) > 1:
        return _one_hot(table, left)
    return None


def _one_hot(table: Table, columns: list[str]) -> list[str]:
    """Labels as a column for each class, with a 1 in one of them. Raises DataError if they are none."""
    rows = zip(*(table.column(name) for name in columns), strict=True)
    labels = []
    for row in rows:
        ones = [name for name, cell in zip(columns, row, strict=True) if cell.strip() in ("1", "1.0")]
        if len(ones) != 1 or any(cell.strip() not in ("0", "0.0", "1", "1.0") for cell in row):
            raise DataError(
                f"{shown(table.path)} has the columns {listed(columns)}; call the one with the labels `label`"
            )
        labels.append(ones[0])
    return labels


def _part_of_rows(table: Table) -> list[str]:
    """The part of each row: by a column, or by the name of the table or of its folder."""
    lower: Mapping[str, str] = {name.casefold(): name for name in table.header}
    for name in SPLITS:
        if name in lower:
            told = [PARTS.get(cell.strip().casefold()) for cell in table.column(lower[name])]
            if all(told):
                return [part or "train" for part in told]
    stem = os.path.splitext(os.path.basename(table.path))[0]
    folder = os.path.basename(os.path.dirname(table.path))
    return [part_named(stem) or PARTS.get(folder.casefold()) or "train"] * len(table.rows)


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]
