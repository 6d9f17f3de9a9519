"""What the winner made of the test set: which classes it confuses, and single images."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search.errors import EnvironmentFault
from search.findings import predictions
from search.findings.intervals import share_interval
from search.findings.predictions import FILE, Predictions
from search.findings.snapshot import Snapshot

MANY_CLASSES = 20
"""With more classes than these a confusion matrix is a grey square, and its largest entries say more."""
MOST_PAIRS = 20


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
    frequent first, and the `worst` classes say more.
    """

    wrong: int
    rows: Sequence[ClassRow]
    pairs: Sequence[tuple[str, str, int]]
    worst: Sequence[ClassRow]


@dataclass(frozen=True)
class Picture:
    """A test image as a data URI, with its class, what it was `taken` for, and how confidently (0 to 1)."""

    uri: str
    true: str
    taken: str
    right: bool
    confidence: float


@dataclass(frozen=True)
class Mistakes:
    """The winner on so many `images` of so many `classes`; `unit` is "images" or "points".

    `missing` says why there is nothing to show, "" if there is something.
    """

    unit: str
    images: int
    classes: int
    missing: str
    confusion: Confusion | None = None
    pictures: Sequence[Picture] = ()


def build(search: Snapshot) -> Mistakes:
    """What the winner of `search` made of the test set, from what the one opening of it left behind."""
    classes = [str(name) for name in search.header.classes]
    images = search.tested.images if search.tested else 0
    kept, missing = kept_predictions(search)
    if kept is None:
        return Mistakes(search.unit, images, len(classes), missing)
    return Mistakes(search.unit, images, len(classes), "", _confusion(kept, classes), _pictures(kept, classes))


def kept_predictions(search: Snapshot) -> tuple[Predictions | None, str]:
    """What measuring the winner of `search` left behind, or None and why it cannot be shown."""
    tested = search.tested
    if tested is None or search.winner is None:
        return None, "The test set was not opened for this winner."
    try:
        kept = predictions.read(search.folder)
    except EnvironmentFault:
        return None, f"The file {FILE} beside the record is damaged."
    if kept is None:
        return None, f"There is no {FILE} beside the record, and the test set is not opened again for it."
    if (kept.trial, kept.epoch) != (search.winner.number, tested.epoch):
        return None, f"The file {FILE} beside the record is of another winner."
    if abs(kept.accuracy - tested.value) > 1e-9 or len(kept.labels) != tested.images:
        return None, f"The file {FILE} beside the record is not of the measurement that is recorded."
    if max(kept.labels.max(), kept.predicted.max()) >= len(search.header.classes):
        return None, f"The file {FILE} beside the record has classes that the data does not have."
    return kept, ""


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
