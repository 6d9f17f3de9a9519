"""Tables of pixels, as Kaggle has MNIST and its relatives: a row for each picture, a column for its label.

Each pixel has a column, or all stand in one, with spaces between them, as in FER2013.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.datasets.assembling import Arrays, assembled
from trainables.datasets.files import shown
from trainables.datasets.label_table import LABELS, SPLITS, delimiter_of, read_head
from trainables.datasets.layout import part_named
from trainables.datasets.source import DataError, Reading, Source, counted, listed

LEAST_COLUMNS = 16
"""Tables with fewer columns hold no pixels, unless one is called TOGETHER."""
TOGETHER = "pixels"
USAGE = {"publictest": "val", "privatetest": "test"}
"""Parts as Kaggle names them, beside those that name themselves."""


def is_pixel_table(path: Path) -> bool:
    """Whether the first line of a file is that of a table with a column for each pixel, or one for all."""
    head = read_head(str(path))
    return len(head) > LEAST_COLUMNS or TOGETHER in (name.casefold() for name in head)


def pixel_tables(name: str, where: str, paths: Sequence[Path], reading: Reading) -> Source:
    """The set in tables of pixels, one for each part, by which the file is called. Raises DataError."""
    found: dict[str, Path] = {}
    for path in paths:
        part = part_named(path.stem) or "train"
        if part in found:
            raise DataError(
                f"{where} has two tables for {part}, {shown(found[part].name)} and {shown(path.name)}; leave one "
                "out, or rename it"
            )
        found[part] = path
    if "train" not in found:
        raise DataError(f"{where} has tables for {listed(sorted(found))} and none for train")
    notes: list[str] = []
    tables: dict[str, _Table] = {}
    for part, path in [*found.items()]:
        table = _read(path, reading, notes)
        if table.labels is None and part == "train":
            raise DataError(f"{shown(str(path))} has no column of labels; call it `label`")
        if table.labels is None:
            notes.append(f"{shown(path.name)} has no column of labels: passed over")
        elif table.parts is not None and len(found) == 1:
            tables |= _by_part(path, table)
            found |= dict.fromkeys(tables, path)
        else:
            if table.parts is not None:
                notes.append(f"{shown(path.name)}: its column of parts is passed over, the file is {part}")
            tables[part] = table
    held = Arrays(
        images={part: table.pixels for part, table in tables.items()},
        labels={part: table.labels for part, table in tables.items()},
        image_keys={part: shown(found[part].name) for part in tables},
        label_keys={part: shown(found[part].name) for part in tables},
        groups=tables["train"].groups,
        notes=notes,
    )
    return assembled(name, where, held, reading)


@dataclass
class _Table:
    """Pixels `(N, P)`, and labels and groups `(N,)` if there are such columns."""

    pixels: Any
    labels: Any
    groups: Any
    parts: Any = None
    """To which part each belongs, as the table says; None if it does not."""


def _by_part(path: Path, table: _Table) -> dict[str, _Table]:
    """The rows of `table` by the part to which they belong. Raises DataError."""
    of = {each: USAGE.get(each.casefold()) or part_named(each) for each in sorted({*table.parts.tolist()})}
    unknown = [each for each, part in of.items() if part is None]
    if unknown:
        raise DataError(
            f"{shown(str(path))} has parts that are called {listed(unknown)}; call them train, val and test"
        )
    if "train" not in of.values():
        raise DataError(
            f"{shown(str(path))} has rows for {listed(sorted({*map(str, of.values())}))} and none for train"
        )
    found = {}
    for part in ("train", "val", "test"):
        rows = [name for name, each in of.items() if each == part]
        if rows:
            mask = [name in rows for name in table.parts.tolist()]
            groups = None if table.groups is None else table.groups[mask]
            found[part] = _Table(table.pixels[mask], table.labels[mask], groups)
    return found


def _read(path: Path, reading: Reading, notes: list[str]) -> _Table:
    import numpy as np
    from pyarrow import ArrowInvalid, csv

    if path.stat().st_size > reading.limit:
        raise DataError(
            f"{shown(str(path))} has {path.stat().st_size:,} bytes, and {reading.limit:,} are allowed; --data-limit "
            "allows more, if the machine has them"
        )
    head = read_head(str(path))
    headless = all(_is_number(cell) for cell in head)
    names = [f"column {number}" for number in range(len(head))] if headless else head
    try:
        table = csv.read_csv(
            os.fsencode(path).decode("utf-8"),
            read_options=csv.ReadOptions(column_names=names, skip_rows=0 if headless else 1),
            parse_options=csv.ParseOptions(delimiter=delimiter_of(str(path))),
        )
    except (ArrowInvalid, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{shown(str(path))} cannot be read as a table ({' '.join(str(error).split())[:200]})"
        ) from None
    if not len(table):
        raise DataError(f"{shown(str(path))} has no rows")
    together = next((name for name in names if name.casefold() == TOGETHER), None)
    if together is not None:
        return _of_one_column(path, table, together, reading, notes)
    of_labels = _label_column(names, headless)
    if headless:
        notes.append(f"{shown(path.name)} has no line of names: its first column is read as labels")
    columns = [name for name in names if name not in (of_labels, reading.group_by)]
    others = [] if _is_picture(len(columns)) else [name for name in columns if not _is_pixel(name)]
    if others:
        notes.append(f"{shown(path.name)}: {counted(len(others), 'column')} passed over: {listed(others)}")
    columns = [name for name in columns if name not in others]
    kept = [table.column(name).to_numpy() for name in columns]
    text = [name for name, column in zip(columns, kept, strict=True) if column.dtype.kind not in "buif"]
    if text:
        raise DataError(f"{shown(str(path))}: the columns {listed(text)} hold no numbers")
    small = all(column.dtype.kind in "iu" and column.min() >= 0 and column.max() <= 255 for column in kept)
    pixels = np.empty((len(table), len(kept)), np.uint8 if small else np.float64)
    for number, column in enumerate(kept):
        pixels[:, number] = column

    groups = reading.group_by if reading.group_by in names else None
    return _Table(pixels, _values(table, of_labels), _values(table, groups))


def _values(table: Any, name: str | None) -> Any:
    """A column of `table` as an array of numbers or text; None without one."""
    import numpy as np

    if name is None:
        return None
    column = table.column(name).to_numpy()
    return np.array([str(each) for each in column.tolist()]) if column.dtype.kind == "O" else column


def _of_one_column(path: Path, table: Any, together: str, reading: Reading, notes: list[str]) -> _Table:
    """A table whose column `together` has all pixels of a picture, with spaces between them. Raises DataError."""
    import numpy as np

    names = [name for name in table.column_names if name != together]
    lower = {name.casefold(): name for name in names}
    of_parts = next((lower[name] for name in SPLITS if name in lower), None)
    left = [name for name in names if name not in (of_parts, reading.group_by)]
    of_labels = next((lower[name] for name in LABELS if name in lower), left[0] if len(left) == 1 else None)
    passed = [name for name in left if name != of_labels]
    if passed and of_labels:
        notes.append(f"{shown(path.name)}: {counted(len(passed), 'column')} passed over: {listed(passed)}")
    if of_labels and of_labels.casefold() not in LABELS:
        notes.append(f"{shown(path.name)}: the column {of_labels} is read as labels")
    rows: list[Any] = []
    for number, text in enumerate(table.column(together).to_pylist(), start=2):
        row = _numbers(str(text))
        if row is None:
            raise DataError(
                f"{shown(str(path))}, line {number}: the column {together} must have whole numbers from 0 to 255 with "
                f"spaces between them, but has {str(text)[:40]!r}"
            )
        if rows and len(row) != len(rows[0]):
            raise DataError(
                f"{shown(str(path))}, line {number} has {len(row):,} pixels, and those before have {len(rows[0]):,}"
            )
        rows.append(row)
    groups = reading.group_by if reading.group_by in names else None
    parts = None if of_parts is None else np.array([str(each) for each in table.column(of_parts).to_pylist()])
    return _Table(np.stack(rows), _values(table, of_labels), _values(table, groups), parts)


def _numbers(text: str) -> Any:
    """The numbers in `text` as uint8 `(P,)`; None if there are none, or others."""
    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # text that is no number ends the reading with a warning
        try:
            row = np.fromstring(text, np.int64, sep=" ")
        except (ValueError, DeprecationWarning, OverflowError):
            return None
    return row.astype(np.uint8) if len(row) and row.min() >= 0 and row.max() <= 255 else None


def _label_column(names: Sequence[str], headless: bool) -> str | None:
    if headless:
        return names[0]
    lower = {name.casefold(): name for name in names}
    return next((lower[name] for name in LABELS if name in lower), None)


def _is_picture(count: int) -> bool:
    return math.isqrt(count) ** 2 == count or (count % 3 == 0 and math.isqrt(count // 3) ** 2 == count // 3)


def _is_pixel(name: str) -> bool:
    """`pixel12`, `12`, `3x4`, `px_12`: a name that ends in a number."""
    return name[-1:].isdigit()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
