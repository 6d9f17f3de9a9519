"""A folder of pictures, read: its layout, its pictures, what must be said of it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from trainables.data import Mapped
from trainables.datasets import cache, copies
from trainables.datasets.balance import balance
from trainables.datasets.decoding import Decoded, Opener, decode, told
from trainables.datasets.files import Walk, shown
from trainables.datasets.label_table import labelled
from trainables.datasets.layout import Entry, Listing, check_classes, class_folders, grouped
from trainables.datasets.source import DataError, Facts, Part, Reading, Source, counted, listed

NEARLY_ALL = 0.9
"""A table that names this share of the pictures says more of their classes than their folders do."""


def picture_folder(name: str, root: Path, reading: Reading, where: str = "") -> Source | None:
    """The pictures below `root` as a data set; None if there are none, or none that are sorted into classes.

    `where` is said in place of the path. Raises DataError.
    """
    walk = Walk()
    tree = walk.folder(str(root))
    if not tree.holds_pictures():
        return None
    listing = class_folders(tree, walk)
    if listing is None or (listing.parts.keys() == {"train"} and tree.has_tables()):
        # Folders beside a table that names their pictures are no classes: images/, part_1/, part_2/.
        by_table = labelled(tree, walk, reading.group_by)
        of_pictures = sum(1 for _ in tree.all_pictures())
        if by_table is not None and (
            listing is None or (by_table.count() >= NEARLY_ALL * of_pictures and not _are_captions(by_table))
        ):
            listing = by_table
    if listing is None:
        return None
    return listed_pictures(name, where or shown(str(root)), listing, reading, base=str(root))


def _are_captions(listing: Listing) -> bool:
    """Whether the labels of a table are rather texts about each picture: hardly any is of two."""
    labels = [each.label for entries in listing.parts.values() for each in entries]
    return len(set(labels)) > len(labels) / 2


def listed_pictures(
    name: str, where: str, listing: Listing, reading: Reading, opener: Opener | None = None, *, base: str
) -> Source:
    """The pictures of `listing`, read. Raises DataError for what cannot be read or judged.

    `opener` opens a picture by its number in the order of the parts; without it they are files. What they are called
    begins at `base`.
    """
    classes = check_classes(listing)
    if reading.group_by and not any(each.group for entries in listing.parts.values() for each in entries):
        for part, ungrouped in listing.parts.items():
            listing.parts[part] = grouped(ungrouped, reading.group_by, listing.root, listing.notes)
    order = [(part, each) for part in ("train", "val", "test") for each in listing.parts.get(part, ())]
    decoded = decode([each.found for _, each in order], reading, listing.root, opener)
    sound = [order[row] for row in decoded.rows.tolist()]
    notes, warnings = [*listing.notes, *decoded.notes], list(listing.warnings)
    if decoded.broken:
        count = len(decoded.broken)
        warnings.append(
            f"{count:,} of {counted(len(order), 'file')} {'is' if count == 1 else 'are'} no readable "
            f"{'image' if count == 1 else 'images'}, left out: {told(decoded.broken)}"
        )
    bounds, start = {}, 0
    for part in ("train", "val", "test"):
        length = sum(which == part for which, _ in sound)
        if length:
            bounds[part] = (start, start + length)
        start += length
    _check_left(sound, classes, listing)
    warnings += balance([each.label for which, each in sound if which == "train"])
    entries = {part: [each for _, each in sound[low:high]] for part, (low, high) in bounds.items()}
    hashes = {part: decoded.hashes[low:high] for part, (low, high) in bounds.items()}
    named = {part: [each.label for each in of] for part, of in entries.items()}
    warnings += [*copies.within(hashes, named), *copies.across(hashes, named)]
    parts = {part: _part(decoded, bounds[part], entries[part], classes) for part in bounds}
    groups, said = copies.groups([each.group for each in entries["train"]], hashes["train"])
    warnings += _across_groups(entries)
    if reading.near:
        warnings += copies.near({part: images for part, (images, _) in parts.items()}, hashes)
    split = "own" if "val" in parts else "by groups" if groups is not None else "stratified"
    return Source(
        name=name,
        where=where,
        classes=classes,
        train=lambda: parts["train"],
        test=(lambda: parts["test"]) if "test" in parts else None,
        val=(lambda: parts["val"]) if "val" in parts else None,
        notes=(*notes, *([said] if said and split != "own" else ())),
        warnings=tuple(warnings),
        image_size=decoded.image_size,
        split=split,
        groups=groups,
        files={part: file for part in bounds if (file := _file(decoded, bounds[part][0])) is not None},
        key=decoded.key,
        facts=Facts(
            counts={part: dict(Counter(each.label for each in of)) for part, of in entries.items()},
            sizes=decoded.sizes,
            kinds=decoded.kinds,
            broken=decoded.broken,
        ),
        file_names=lambda part: [shown(os.path.relpath(each.found.path, base)) for each in entries[part]],
    )


def _part(decoded: Decoded, bounds: tuple[int, int], entries: Sequence[Entry], classes: Sequence[str]) -> Part:
    import torch

    number = {name: index for index, name in enumerate(classes)}
    labels = torch.tensor([number[each.label] for each in entries], dtype=torch.int64)
    return cache.tensor(decoded.images[bounds[0] : bounds[1]]), labels


def _file(decoded: Decoded, start: int) -> Mapped | None:
    """Where the images from number `start` on are mapped from; None if they lie in memory."""
    path = getattr(decoded.images, "filename", None)
    return None if path is None else Mapped(str(path), start * decoded.images[0].size)


def _check_left(sound: Sequence[tuple[str, Entry]], classes: Sequence[str], listing: Listing) -> None:
    """Raise DataError if a class has lost all its training pictures."""
    left = {each.label for part, each in sound if part == "train"}
    lost = [name for name in classes if name not in left]
    if lost:
        raise DataError(
            f"{shown(listing.root)}: no training picture of {listed(lost)} can be read; mend some, or remove the class"
        )


def _across_groups(entries: dict[str, list[Entry]]) -> list[str]:
    """A warning for each pair of parts that share groups."""
    said = []
    groups = {part: {each.group for each in of if each.group is not None} for part, of in entries.items()}
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        shared = sorted(groups.get(one, set()) & groups.get(other, set()))
        if shared:
            said.append(f"{counted(len(shared), 'group')} in {one} and in {other}: {listed(shared)}")
    return said


def count_pictures(path: Path) -> int:
    """How many pictures lie in a folder and below it."""
    return sum(1 for _ in Walk().folder(str(path)).all_pictures())


def has_train(path: Path) -> bool:
    """Whether a folder has a folder `train` or `training`, in any case: a set of the user's, whatever else is there."""
    with os.scandir(path) as entries:
        return any(entry.name.casefold() in ("train", "training") and entry.is_dir() for entry in entries)
