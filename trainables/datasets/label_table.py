"""Pictures beside a table of their labels: a column of paths, names or ids, and one of labels.

`labels.csv`, or `metadata.jsonl` as Hugging Face's image folders have it.
"""

from __future__ import annotations

import csv
import json
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from trainables.datasets.files import Folder, Found, Walk, shown
from trainables.datasets.layout import PARTS, Entry, Listing, part_named
from trainables.datasets.picture_names import Names, named_so
from trainables.datasets.source import DataError, counted, listed

LABELS = (
    "label", "labels", "class", "classes", "class_name", "classname", "label_name", "category", "target", "y", "breed",
    "species", "diagnosis", "tag", "dx", "classid", "labelid",
)  # fmt: skip
"""What people call the column of labels, the likeliest first."""

SPLITS = ("split", "set", "subset", "part", "partition", "fold_name", "usage", "data set", "dataset")

FLAGS = {
    "is_test": "test", "is_valid": "val", "is_val": "val", "is_validation": "val", "is_train": "train",
    "is_training": "train",
}  # fmt: skip
"""Columns that say yes or no to a part; a no to training alone means the test part."""

YES, NO = ("1", "1.0", "true", "yes", "t", "y"), ("0", "0.0", "false", "no", "f", "n", "")

NO_LABEL = ("", "nan")
"""What stands where a row has no label; pandas writes the second."""

MOST_BYTES = 500_000_000


@dataclass
class Table:
    """The rows of a table, each as long as its `header`; `uneven` others were not."""

    path: str
    header: list[str]
    rows: list[list[str]]
    uneven: int = 0

    def column(self, name: str) -> list[str]:
        """The values of a column."""
        index = self.header.index(name)
        return [row[index] for row in self.rows]


def labelled(folder: Folder, walk: Walk, group_by: str | None) -> Listing | None:
    """The pictures below `folder` with the labels of the tables there; None if no table names pictures.

    A table is of the part that it, or the folder that it lies in, is named after (`train.csv`, `test/metadata.jsonl`),
    or has a column `split`; else a row is of the part that the folder of its picture is called. A row without a picture
    is a broken file. Raises DataError.
    """
    base = folder
    while not base.tables and len(base.folders) == 1:
        base = base.folders[0]
    paths = [*base.tables, *(table for each in base.folders for table in each.tables)]
    if not paths:
        return None
    pictures = list(base.all_pictures())
    names = Names.of(pictures, [base.path, *(each.path for each in base.folders)])
    listing, tables = Listing(base.path), _to_read(paths, base)
    for path in tables:
        for part, of_part in _of_table(read_table(path), names, listing, group_by).items():
            listing.parts.setdefault(part, []).extend(of_part)
    if not listing.parts.get("train"):
        return None
    for part in list(listing.parts):
        listing.parts[part] = _once(listing.parts[part], listing)
    named = {entry.found.path for entries in listing.parts.values() for entry in entries}
    if len(tables) < len(paths):
        left = [shown(os.path.relpath(path, base.path)) for path in paths if path not in tables]
        listing.warnings.append(
            f"{counted(len(left), 'table')} named after no part, or after a submission, passed over: {listed(left)}"
        )
    without = sum(each.path not in named for each in pictures)
    if without:
        listing.warnings.append(f"{counted(without, 'picture')} that no table has a label for: left out")
    listing.notes += walk.notes()
    return listing


def _to_read(paths: Sequence[str], base: Folder) -> list[str]:
    """The tables that say what is in the data: where one is of a part by its name, those of no part are not.

    `sample_submission.csv` is how Kaggle wants answers: its labels are made up.
    """
    left = [path for path in paths if "submission" not in os.path.basename(path).casefold()]
    named = [path for path in left if _part_of_table(path) is not None]
    return named if any(_part_of_table(path) == "train" for path in named) else left


def _once(entries: list[Entry], listing: Listing) -> list[Entry]:
    """Each picture once. Raises DataError if two rows say that one picture is of two classes."""
    by_path: dict[str, Entry] = {}
    two: dict[str, str] = {}
    for each in entries:
        before = by_path.setdefault(each.found.path, each)
        if before.label != each.label:
            told = f"{shown(os.path.relpath(each.found.path, listing.root))} ({before.label}, {each.label})"
            two.setdefault(each.found.path, told)
    if two:
        raise DataError(
            f"{shown(listing.root)}: tables have more than one label for {counted(len(two), 'picture')}: "
            f"{listed(list(two.values()))}; one class per picture is wanted"
        )
    if len(by_path) < len(entries):
        more = counted(len(entries) - len(by_path), "row")
        listing.notes.append(f"{more} of tables name a picture again, with the same label: it is taken once")
    return list(by_path.values())


def read_head(path: str) -> list[str]:
    """The cells of the first line of a table. Raises DataError."""
    first = _first_line(path)
    return [cell.strip() for cell in next(csv.reader([first], delimiter=_delimiter(first)), [])]


def delimiter_of(path: str) -> str:
    """What stands between the cells of a table: a comma, a semicolon or a tab. Raises DataError."""
    return _delimiter(_first_line(path))


def _first_line(path: str) -> str:
    try:
        with _opened(path) as file:
            return file.readline(1_000_000)
    except (OSError, UnicodeError) as error:
        raise DataError(f"{shown(path)} cannot be read as a table ({_why(error)})") from None


def _opened(path: str) -> IO[str]:
    """A table as text: UTF-8, or UTF-16 if its first bytes say so, as Windows writes it."""
    with open(path, "rb") as file:
        wide = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
    return open(path, encoding="utf-16" if wide else "utf-8-sig", errors="surrogateescape", newline="")


def _why(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:200]


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def read_table(path: str) -> Table:
    """The table in a file with commas, semicolons or tabs, or with a JSON object in each line. Raises DataError."""
    try:
        if os.path.getsize(path) > MOST_BYTES:
            raise DataError(f"{shown(path)} is larger than {MOST_BYTES:,} bytes, so it is no table of labels")
        if path.lower().endswith(".jsonl"):
            return _json_lines(path)
        with _opened(path) as file:
            between = _delimiter(file.readline(1_000_000))
            file.seek(0)
            rows = [row for row in csv.reader(file, delimiter=between) if row]
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"{shown(path)} cannot be read as a table ({_why(error)})") from None
    if not rows:
        return Table(path, [], [])
    header = [name.strip() for name in rows[0]]
    ended = [row[: len(header)] if not any(row[len(header) :]) else row for row in rows[1:]]  # commas at the end
    even = [row for row in ended if len(row) == len(header)]
    return Table(path, header, even, len(ended) - len(even))


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
    folder, own = os.path.dirname(table.path), shown(os.path.basename(table.path))
    if any(names.get(cell, folder, exactly=True) is not None for cell in table.header):
        listing.notes.append(f"{own} has no line of names: its first line is a picture's")
        columns = [f"column {number}" for number in range(1, len(table.header) + 1)]
        table = Table(table.path, columns, [table.header, *table.rows], table.uneven)
    hits = {name: sum(names.get(cell, folder) is not None for cell in table.column(name)) for name in table.header}
    of_files = max(hits, key=lambda name: hits[name], default=None)
    if of_files is None or not hits[of_files]:
        listing.notes.append(f"{own} names no pictures: passed over")
        return {}
    labels = _labels(table, of_files, group_by)
    if labels is None:
        listing.warnings.append(f"{own} has no labels: passed over")
        return {}
    if table.uneven:
        listing.warnings.append(
            f"{counted(table.uneven, 'row')} of {own} with more or fewer cells than its first line: left out; a cell "
            "that holds a comma needs quotes"
        )
    groups = table.column(group_by) if group_by in table.header else [None] * len(table.rows)
    found = [names.get(cell, folder) for cell in table.column(of_files)]
    parts = _part_of_rows(table, found, listing.root)
    entries: dict[str, list[Entry]] = {}
    unlabelled = other = 0
    for cell, picture, label, group, part in zip(table.column(of_files), found, labels, groups, parts, strict=True):
        label = _text(label)
        unlabelled += label.casefold() in NO_LABEL
        if label.casefold() not in NO_LABEL:
            other += picture is not None and not named_so(picture, cell)
            missing = Found(
                os.path.join(listing.root, cell), "", "it is named in a table, and there is no such picture"
            )
            entries.setdefault(part, []).append(Entry(picture or missing, label, group))
    if unlabelled:
        listing.warnings.append(f"{counted(unlabelled, 'row')} of {own} without a label: left out")
    if other:
        listing.notes.append(f"{own} names {counted(other, 'picture')} in another case or with another suffix: read")
    return entries


def _text(cell: str) -> str:
    """A label as text, accents written in one way; what is no UTF-8 is taken for Windows' letters."""
    raw = cell.strip().encode("utf-8", "surrogateescape")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "backslashreplace")
    return unicodedata.normalize("NFC", text)


def _labels(table: Table, of_files: str, group_by: str | None) -> list[str] | None:
    """The labels of all rows; None if there is no column of them. Raises DataError if several could be it."""
    lower = {name.casefold(): name for name in table.header}
    for name in LABELS:
        if name in lower and lower[name] not in (of_files, group_by):
            return table.column(lower[name])
    parts = (*SPLITS, *FLAGS)
    left = [name for name in table.header if name not in (of_files, group_by) and name.casefold() not in parts]
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


def _part_of_rows(table: Table, found: Sequence[Found | None], root: str) -> list[str]:
    """The part of each row: by a column, by the name of the table or of its folder, or by that of its picture's folder.

    Raises DataError for a column that has parts in some rows, and something else in others.
    """
    lower: Mapping[str, str] = {name.casefold(): name for name in table.header}
    for name in SPLITS:
        if name in lower:
            cells = table.column(lower[name])
            told = [part_named(cell.strip()) for cell in cells]
            other = sorted({shown(cell.strip()) for cell, part in zip(cells, told, strict=True) if part is None})
            if any(told) and other:
                raise DataError(
                    f"{shown(table.path)}: the column {lower[name]} has {listed(other)} beside parts; allowed are "
                    "train, val and test"
                )
            if all(told):
                return [part or "train" for part in told]
    flagged = _flagged(table, lower)
    if flagged is not None:
        return flagged
    of_table = _part_of_table(table.path)
    return [of_table or (_part_of_picture(each, root) if each else "train") for each in found]


def _flagged(table: Table, lower: Mapping[str, str]) -> list[str] | None:
    """The part of each row where columns say yes or no to parts; None without any. Raises DataError for other cells."""
    told: dict[str, list[bool]] = {}
    for name, part in FLAGS.items():
        if name in lower:
            cells = [cell.strip().casefold() for cell in table.column(lower[name])]
            other = sorted({shown(cell) for cell in cells} - {*YES, *NO})
            if other:
                raise DataError(
                    f"{shown(table.path)}: the column {lower[name]} has {listed(other)}; allowed are 0 and 1"
                )
            told[part] = [cell in YES for cell in cells]
    if not told:
        return None
    rest = "test" if set(told) == {"train"} else "train"
    return [
        next((part for part in ("test", "val", "train") if part in told and told[part][row]), rest)
        for row in range(len(table.rows))
    ]


def _part_of_table(path: str) -> str | None:
    """The part that a table, or the folder that it lies in, is named after."""
    stem, folder = os.path.splitext(os.path.basename(path))[0], os.path.basename(os.path.dirname(path))
    return part_named(stem) or PARTS.get(folder.casefold())


def _part_of_picture(picture: Found, root: str) -> str:
    """The part that a folder on the way from `root` to a picture is called."""
    folders = os.path.relpath(picture.path, root).split(os.sep)[:-1]
    return next((PARTS[name.casefold()] for name in folders if name.casefold() in PARTS), "train")
