"""What the winner made of the test set: which classes it confuses, single images, and its surest mistakes."""

from __future__ import annotations

import base64
import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search.findings import mistaken, predictions
from search.findings.figures import confusion as figures
from search.findings.intervals import share_interval
from search.findings.mistaken import Mistake, kept_test, kept_val
from search.findings.predictions import Predictions
from search.findings.snapshot import Snapshot

MANY_CLASSES = 20
"""With more classes than these a confusion matrix is drawn without numbers, and its largest entries are a table."""
MOST_PAIRS = 20
MOST_LISTED, MOST_IN_FILE = 20, 1000
"""Mistakes in the table, and in the file that the page carries."""


@dataclass(frozen=True)
class ClassRow:
    """A class: of `total` images `right` were recognised, in `share` with its 95 % `interval`; None without images.

    `cells` has, for each class, how many were taken for it, and which share of all that is.
    """

    name: str
    total: int
    right: int
    share: float | None
    interval: tuple[float, float] | None
    cells: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Confusion:
    """How often which class was taken for which; `wrong` images for another than theirs.

    `rows` are all classes; empty if these are too many, and then `pairs` (true, taken for, how often), the most
    frequent first, and the `worst` classes say more, beside all of them as a `figure`.
    """

    wrong: int
    rows: Sequence[ClassRow]
    pairs: Sequence[tuple[str, str, int]]
    worst: Sequence[ClassRow]
    figure: str = ""


@dataclass(frozen=True)
class Picture:
    """A test image as a data URI, with its class, what it was `taken` for, and how confidently (0 to 1).

    `file` is its path, "" where it is no file.
    """

    uri: str
    file: str
    true: str
    taken: str
    right: bool
    confidence: float


@dataclass(frozen=True)
class Surest:
    """The most confident of `count` mistakes on the parts `looked_at`: `rows` to show, and `in_file` as a CSV file.

    `file` is that file as a data URI.
    """

    count: int
    looked_at: Sequence[str]
    rows: Sequence[Mistake]
    in_file: int
    file: str


@dataclass(frozen=True)
class Mistakes:
    """The winner on so many `images` of so many `classes`; `unit` is "images" or "points".

    `missing` says why there is nothing to show of the test set, "" if there is something. `surest` is None where
    nothing was kept of any part.
    """

    unit: str
    images: int
    classes: int
    missing: str
    confusion: Confusion | None = None
    pictures: Sequence[Picture] = ()
    surest: Surest | None = None


def build(search: Snapshot) -> Mistakes:
    """What the winner of `search` made of the test set, from what the one opening of it left behind."""
    classes = [str(name) for name in search.header.classes]
    images = (search.tested.images if search.tested else None) or 0
    kept, missing = kept_test(search)
    surest = _surest(search, kept)
    if kept is None:
        return Mistakes(search.unit, images, len(classes), missing, surest=surest)
    shown = _pictures(kept, classes)
    return Mistakes(search.unit, images, len(classes), "", _confusion(kept, classes), shown, surest)


def _surest(search: Snapshot, test: Predictions | None) -> Surest | None:
    val = kept_val(search)
    every = mistaken.among(test, val, search)
    if every is None:
        return None
    parts = {"the test set": test, "the validation part": val}
    looked_at = [part for part, kept in parts.items() if kept is not None]
    carried = every[:MOST_IN_FILE]
    return Surest(len(every), looked_at, every[:MOST_LISTED], len(carried), _csv(carried))


def _csv(mistakes: Sequence[Mistake]) -> str:
    """A CSV file of `mistakes` as a data URI."""
    columns, rows = mistaken.table(mistakes)
    with io.StringIO(newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
        return f"data:text/csv;base64,{base64.b64encode(file.getvalue().encode()).decode()}"


def _confusion(kept: Predictions, classes: Sequence[str]) -> Confusion:
    pairs = Counter(zip(kept.labels.tolist(), kept.predicted.tolist(), strict=True))
    rows = [_row(pairs, true, classes) for true in range(len(classes))]
    wrong = [(count, true, taken) for (true, taken), count in pairs.items() if true != taken]
    ranked = sorted(wrong, key=lambda each: (-each[0], each[1], each[2]))[:MOST_PAIRS]
    return Confusion(
        wrong=sum(count for count, _, _ in wrong),
        rows=rows if len(classes) <= MANY_CLASSES else [],
        pairs=[(classes[true], classes[taken], count) for count, true, taken in ranked],
        worst=sorted((row for row in rows if row.total), key=lambda row: row.share or 0.0)[:MOST_PAIRS],
        figure=figures.cells(pairs, classes) if len(classes) > MANY_CLASSES else "",
    )


def _row(pairs: Counter[tuple[int, int]], true: int, classes: Sequence[str]) -> ClassRow:
    counts = [pairs[true, taken] for taken in range(len(classes))]
    total, right = sum(counts), counts[true]
    return ClassRow(
        name=classes[true],
        total=total,
        right=right,
        share=right / total if total else None,
        interval=share_interval(right, total) if total else None,
        cells=[(count, count / total if total else 0.0) for count in counts],
    )


def _pictures(kept: Predictions, classes: Sequence[str]) -> list[Picture]:
    """Some images, mistakes first; none of data that are no pictures."""
    if str(kept.images.dtype) != "uint8" or kept.images.shape[1] not in (1, 3):
        return []
    made = []
    # Some sets use few of the 256 levels (digits 17), which would be black on black.
    brightest = max(1, int(kept.images.max()))
    for index, image in list(zip(kept.shown.tolist(), kept.images, strict=True))[: predictions.MOST]:
        true, taken = int(kept.labels[index]), int(kept.predicted[index])
        content = base64.b64encode(png((image * (255.0 / brightest)).astype("uint8"))).decode()
        made.append(
            Picture(
                uri=f"data:image/png;base64,{content}",
                file=kept.files[index] if kept.files else "",
                true=classes[true],
                taken=classes[taken],
                right=true == taken,
                confidence=float(kept.confidence[index]),
            )
        )
    return made


def png(image: Any) -> bytes:
    """An image `(C, H, W)` uint8, grey or RGB, as a PNG file."""
    from PIL import Image

    with io.BytesIO() as file:
        Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(file, "PNG", optimize=True)
        return file.getvalue()
