"""Arrays of images and labels as a data set: levels, labels, size, copies, and how it is to be parted."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from trainables import pictures
from trainables.datasets import copies
from trainables.datasets.balance import balance
from trainables.datasets.labels import to_labels
from trainables.datasets.levels import to_levels
from trainables.datasets.source import SIDE, DataError, Facts, Part, Reading, Source


@dataclass
class Arrays:
    """Images and labels of each part as they were found, under which names; `groups` are of the train part.

    `names` are those of the classes by their numbers. `known` are the classes of a known set that this must be.
    """

    images: dict[str, Any]
    labels: dict[str, Any]
    image_keys: dict[str, str]
    label_keys: dict[str, str]
    groups: Any = None
    names: Sequence[str] | None = None
    known: Sequence[str] | None = None
    notes: list[str] = field(default_factory=list)


def assembled(name: str, where: str, arrays: Arrays, reading: Reading) -> Source:
    """The data set that `arrays` are. Raises DataError."""
    import numpy as np
    import torch

    notes = list(arrays.notes)
    labels, classes, said = to_labels(arrays.labels, arrays.label_keys, where, arrays.names)
    notes += said
    if arrays.known is not None:
        if len(classes) != len(arrays.known):
            raise DataError(f"{where} has {len(classes)} classes, but {name} has {len(arrays.known)}")
        classes = tuple(arrays.known)
    for part, images in arrays.images.items():
        count = len(labels[part])
        if images.ndim == 4 and len(images) != count == images.shape[3]:  # as MATLAB keeps them
            arrays.images[part] = images = np.moveaxis(images, 3, 0)
            notes.append(f"{arrays.image_keys[part]}: the last axis is read as that of the images")
        if len(images) != len(labels[part]):
            raise DataError(
                f"{where}: {arrays.image_keys[part]} has {len(images)} images for {len(labels[part])} labels"
            )
    images, said = to_levels(arrays.images, arrays.image_keys, where)
    notes += said
    height, width = images["train"].shape[2:]
    images, size, said = _of_one_size(images, reading)
    notes += said
    made = _source(name, where, classes, images, labels, size, notes, arrays)
    assert made.facts is not None
    facts = replace(made.facts, sizes={f"{width}×{height}": sum(map(len, images.values()))})
    near = copies.near({part: torch.from_numpy(of) for part, of in images.items()}) if reading.near else []
    return replace(made, facts=facts, warnings=(*made.warnings, *near))


def _source(
    name: str,
    where: str,
    classes: tuple[str, ...],
    images: dict[str, Any],
    labels: dict[str, Any],
    size: int | None,
    notes: list[str],
    arrays: Arrays,
) -> Source:
    import numpy as np
    import torch

    if arrays.known is not None:  # a known set is parted as it always was, and is known to be sound
        warnings, groups, split = [], None, "shuffled"
    else:
        hashes = {part: copies.hashes(of) for part, of in images.items()}
        warnings = balance([classes[label] for label in labels["train"].tolist()])
        told = {part: of.tolist() for part, of in labels.items()}
        warnings += [*copies.within(hashes, told), *copies.across(hashes, told)]
        named = (
            [None] * len(labels["train"]) if arrays.groups is None else [str(each) for each in arrays.groups.tolist()]
        )
        if len(named) != len(labels["train"]):
            raise DataError(f"{where}: there are {len(named)} groups for {len(labels['train'])} training images")
        groups, said = copies.groups(named, hashes["train"])
        split = "by groups" if groups is not None else "stratified"
        notes += [said] if said else []
    parts: dict[str, Part] = {part: (torch.from_numpy(images[part]), torch.from_numpy(labels[part])) for part in images}
    return Source(
        name=name,
        where=where,
        classes=classes,
        train=lambda: parts["train"],
        test=(lambda: parts["test"]) if "test" in parts else None,
        val=(lambda: parts["val"]) if "val" in parts else None,
        notes=tuple(notes),
        warnings=tuple(warnings),
        image_size=size,
        split="own" if "val" in parts else split,
        groups=groups,
        facts=Facts(
            {
                part: {classes[at]: n for at, n in enumerate(np.bincount(of).tolist()) if n}
                for part, of in labels.items()
            }
        ),
    )


def _of_one_size(images: dict[str, Any], reading: Reading) -> tuple[dict[str, Any], int | None, list[str]]:
    """The images in the size that is wanted, that size if they were fitted to it, and what is said of it."""
    height, width = images["train"].shape[2:]
    size = reading.image_size
    if size is None and max(height, width) > SIDE:
        size = reading.otherwise
    if size is None or (height, width) == (size, size):
        return images, reading.image_size, []
    said = (
        f"{sum(map(len, images.values())):,} images of {width}×{height} pixels made {size}×{size}: short side resized, "
        "middle cut out; --image-size N makes them N×N"
    )
    return {part: _fitted(of, size) for part, of in images.items()}, size, [said]


def _fitted(images: Any, size: int) -> Any:
    """uint8 `(N, C, H, W)` fitted to `size`, by all cores."""
    import numpy as np

    shape = (images.shape[1], size, size)
    made = np.empty((len(images), *shape), np.uint8)

    def fit(start: int) -> None:
        for row in range(start, min(start + 64, len(images))):
            made[row] = pictures.image_of_array(images[row].transpose(1, 2, 0), shape)

    with ThreadPoolExecutor() as threads:
        for _ in threads.map(fit, range(0, len(images), 64)):
            pass
    return made
