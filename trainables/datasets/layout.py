"""A folder of pictures as people lay it out: which picture is in which part, of which class.

Known layouts: `train/<class>/…`, `<class>/…`, `<class>/train/…`; pictures beside a table of their labels. Parts may be
called `train` or `training`, `val`, `valid`, `validation` or `dev`, `test` or `testing`, in any case, alone or with
other words (`test_set`, `trainset`). Folders inside a class belong to it, and folders around the whole are looked
through.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from trainables.datasets.files import Folder, Found, Walk, shown
from trainables.datasets.source import DataError, counted, listed

PARTS: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What people call the parts of a set, and what they are called here."""

WRITTEN_TOGETHER = ("set", "data", "images")
"""What people write behind the name of a part without a gap: `trainset`."""


@dataclass(frozen=True)
class Entry:
    """A picture of the class `label`; `group` names what it belongs to, None if nothing says so."""

    found: Found
    label: str
    group: str | None = None


@dataclass
class Listing:
    """All pictures of a set, by part (`train`, `val`, `test`), with `classes` in their order, and what was said of it.

    A `classes` of None is sorted by name.
    """

    root: str
    parts: dict[str, list[Entry]] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def count(self) -> int:
        """How many pictures there are in all parts."""
        return sum(map(len, self.parts.values()))


def part_named(name: str) -> str | None:
    """Which part a folder or file calls itself: `Training`, `seg_train`, `testset`; None if none or two."""
    whole = PARTS.get(name.casefold())
    words = re.split(r"[^a-z]+", name.casefold())
    words += [word.removesuffix(end) for word in words for end in WRITTEN_TOGETHER]
    found = {PARTS[word] for word in words if word in PARTS}
    return whole or (found.pop() if len(found) == 1 else None)


def class_folders(folder: Folder, walk: Walk) -> Listing | None:
    """The pictures of `folder`, whose classes are folders; None if they are not laid out so. Raises DataError."""
    base = _innermost(folder)
    parts = {} if _train_is_a_class(base) else _parts(base)
    listing = Listing(base.path)
    if base is not folder:
        name = shown(os.path.relpath(base.path, folder.path))
        listing.notes.append(f"read is the folder {name} in it")
        outside = sum(1 for _ in folder.all_pictures()) - sum(1 for _ in base.all_pictures())
        if outside:
            listing.warnings.append(f"{counted(outside, 'picture')} beside the folder {name}: passed over")
    for each in parts.values() or [base]:
        _refuse_dead_links(each)
    if parts:
        if not parts["train"].folders:
            return None
        if sum(each.holds_pictures() for each in parts["train"].folders) == 0 and base.tables:
            return None
        for name, part in parts.items():
            listing.parts[name] = _by_class(name, part, listing)
        _say_passed_over([each for each in base.folders if each not in parts.values()], base, listing)
        empty = [each.name for each in parts["train"].folders if not each.holds_pictures()]
        if empty:
            raise DataError(
                f"{shown(os.path.join(parts['train'].path, empty[0]))} holds no pictures; remove it, or fill it"
            )
    else:
        kinds = [each for each in base.folders if each.holds_pictures()]
        if not kinds or (base.tables and len(kinds) < 2):
            return None
        inverse = [{part_named(each.name) for each in kind.folders} for kind in kinds]
        if all("train" in names for names in inverse):
            _parts_in_classes(kinds, listing)
        else:
            _classes_alone(base, kinds, listing)
        empty = [shown(each.name) for each in base.folders if each not in kinds]
        if empty:
            listing.notes.append(f"{counted(len(empty), 'folder')} without pictures passed over: {listed(empty)}")
        _say_passed_over([], base, listing)
    if not any(listing.parts.get("train", ())):
        return None
    _same_names(listing)
    listing.notes += walk.notes()
    return listing


def _innermost(folder: Folder) -> Folder:
    """The folder that holds the set: what is wrapped around it, `archive/archive/train`, is left behind.

    What lies beside the folder with the pictures (a table, `annotations/`, a preview) hides it only if that could be
    a class as well.
    """
    holding = [each for each in folder.folders if each.holds_pictures()] or folder.folders
    if len(holding) != 1 or PARTS.get(holding[0].name.casefold()) is not None:
        return folder
    inner = _innermost(holding[0])
    if (len(folder.folders) == 1 and not folder.pictures and not folder.tables) or "train" in _parts(inner):
        return inner
    several = sum(each.holds_pictures() for each in inner.folders) > 1
    beside = [each for each in folder.folders if each is not holding[0]]
    return inner if several and not folder.tables and all(each.holds_files() for each in beside) else folder


def _refuse_dead_links(folder: Folder) -> None:
    """Raise DataError for a link to nowhere among the folders of classes: it was one of them."""
    for each in folder.pictures:
        if each.broken and folder.folders and not os.path.splitext(each.path)[1] and os.path.islink(each.path):
            raise DataError(f"{shown(each.path)} is a link that leads nowhere; mend it, or remove it")


def _classes_alone(base: Folder, kinds: list[Folder], listing: Listing) -> None:
    """`<class>/…` without `train`; among them `test/<class>/…` is a part, if it has classes of those beside it."""
    parts: dict[str, Folder] = {}
    for each in kinds:
        part = PARTS.get(each.name.casefold())
        beside = {folded(kind.name) for kind in kinds if kind is not each}
        if part in ("val", "test") and not each.pictures and beside & {folded(kind.name) for kind in each.folders}:
            parts[part] = each
    classes = [each for each in kinds if each not in parts.values()]
    listing.parts["train"] = _by_class("train", replace(base, folders=classes), listing)
    for part, of_part in parts.items():
        listing.parts[part] = _by_class(part, of_part, listing)
        listing.notes.append(f"{shown(of_part.name)}/ has the classes that lie beside it: read as the {part} part")
    inside = [tuple(folded(each.name) for each in kind.folders if each.holds_pictures()) for kind in classes]
    if len(inside) > 1 and len(set(inside)) == 1 and len(inside[0]) > 1 and not any(kind.pictures for kind in classes):
        listing.warnings.append(
            f"{listed([shown(kind.name) for kind in classes])} are read as the classes, and each holds the same "
            f"folders, {listed([shown(name) for name in inside[0]])}; if those are the classes, give one of the outer "
            "folders, or call them train, val and test"
        )


def _parts(base: Folder) -> dict[str, Folder]:
    """The parts among the folders of `base`; empty if there is no `train`. Raises DataError if two are one part."""
    for name_of in (lambda name: PARTS.get(name.casefold()), part_named):
        found: dict[str, Folder] = {}
        for each in base.folders:
            part = name_of(each.name)
            if part is None or not each.holds_pictures():
                continue
            if part in found:
                raise DataError(
                    f"{shown(base.path)} has two folders for one part, {shown(found[part].name)} and "
                    f"{shown(each.name)}; put their pictures together, or rename one"
                )
            found[part] = each
        if "train" in found:
            return {name: _inside(found[name]) for name in ("train", "val", "test") if name in found}
        if found and name_of is not part_named and len(found) == len(base.folders):
            raise DataError(f"{shown(base.path)} has {listed(sorted(found))} but no train folder")
    return {}


def _train_is_a_class(base: Folder) -> bool:
    """`bus/`, `plane/`, `train/`: a folder called like a part, with pictures and no classes, among others of none."""
    kinds = [each for each in base.folders if each.holds_pictures()]
    flat = [each for each in kinds if part_named(each.name) == "train" and each.pictures and not each.folders]
    return bool(flat) and not base.tables and any(part_named(each.name) is None for each in kinds)


def _inside(part: Folder) -> Folder:
    """`seg_train/seg_train/<class>`: the folder with the classes."""
    only = part.folders[0] if len(part.folders) == 1 and not part.pictures else None
    return (
        _inside(only)
        if only is not None and len([each for each in only.folders if each.holds_pictures()]) > 1
        else part
    )


def _by_class(name: str, part: Folder, listing: Listing) -> list[Entry]:
    if part.pictures and any(each.holds_pictures() for each in part.folders):
        listing.warnings.append(
            f"{counted(len(part.pictures), 'picture')} in {shown(part.path)} itself, in no class's folder: left out"
        )
    elif part.pictures:
        listing.warnings.append(
            f"the {counted(len(part.pictures), 'picture')} in {shown(part.path)} are in no class's folder, so the data "
            f"have no {name} part of their own"
        )
    nested = 0
    entries = []
    for kind in part.folders:
        label = shown(kind.name)
        of_kind = [Entry(found, label) for found in kind.all_pictures()]
        nested += len(of_kind) - len(kind.pictures)
        entries += of_kind
    if nested:
        listing.notes.append(f"{counted(nested, f'{name} picture')} in folders inside their class's folder: read")
    return entries


def _parts_in_classes(kinds: list[Folder], listing: Listing) -> None:
    """`<class>/train/…`: the parts are inside the classes."""
    for kind in kinds:
        for each in kind.folders:
            part = part_named(each.name)
            if part is None or kind.pictures:
                raise DataError(
                    f"{shown(kind.path)} has pictures in parts (train, val, test) and others in none; sort them in"
                )
            listing.parts.setdefault(part, []).extend(Entry(found, shown(kind.name)) for found in each.all_pictures())
    listing.notes.append(f"the parts {', '.join(sorted(listing.parts))} are inside the folders of the classes")


def _say_passed_over(folders: list[Folder], base: Folder, listing: Listing) -> None:
    for each in folders:
        count = sum(1 for _ in each.all_pictures())
        if count:
            listing.warnings.append(
                f"{shown(each.name)}/ with {counted(count, 'picture')} is none of train, val and test: passed over"
            )
    if base.pictures and listing.parts.get("train") and base.path not in {os.path.dirname(p) for p in _paths(listing)}:
        text = f"{counted(len(base.pictures), 'picture')} beside the folders: passed over"
        if not any(shown(base.path) in said for said in listing.warnings):
            listing.warnings.append(text)


def _paths(listing: Listing) -> Iterator[str]:
    for entries in listing.parts.values():
        yield from (entry.found.path for entry in entries)


def folded(name: str) -> str:
    """A class's name as it is compared among parts: in any case, accents written in one way."""
    return unicodedata.normalize("NFC", name).casefold().strip()


def _same_names(listing: Listing) -> None:
    """Give the classes of `val` and `test` the names that `train` has for them, and drop parts that have none."""
    classes = {entry.label for entry in listing.parts["train"]}
    by_folded = Counter(folded(name) for name in classes)
    same = {folded(name): name for name in classes if by_folded[folded(name)] == 1}
    for part in ("val", "test"):
        entries = listing.parts.get(part)
        if not entries:
            listing.parts.pop(part, None)
            continue
        renamed = {}
        for label in {entry.label for entry in entries} - classes:
            if folded(label) in same:
                renamed[label] = same[folded(label)]
        if renamed:
            told = [f"{was} as {now}" for was, now in sorted(renamed.items())]
            listing.notes.append(f"classes of {part} that are written otherwise are read: {listed(told)}")
            listing.parts[part] = [
                Entry(each.found, renamed.get(each.label, each.label), each.group) for each in entries
            ]


def check_classes(listing: Listing) -> tuple[str, ...]:
    """The classes of `train`, in their order; says which of them other parts lack. Raises DataError."""
    counts = Counter(entry.label for entry in listing.parts.get("train", ()))
    classes = listing.classes or tuple(sorted(counts))
    if len(counts) < 2:
        only = f" ({next(iter(counts))})" if counts else ""
        raise DataError(
            f"{shown(listing.root)} has {len(counts)} class{only} with training pictures; at least two are needed"
        )
    for part in ("val", "test"):
        if part not in listing.parts:
            continue
        of_part = Counter(entry.label for entry in listing.parts[part])
        unknown = sorted(of_part.keys() - counts.keys())
        if unknown:
            number = sum(of_part[name] for name in unknown)
            raise DataError(
                f"{counted(number, 'picture')} of {part} are of {counted(len(unknown), 'class', 'classes')} without "
                f"training pictures: {listed(unknown)}; add such pictures to train, or remove them from {part}"
            )
        lacking = [name for name in classes if name not in of_part]
        if lacking:
            listing.notes.append(
                f"{part} has no picture of {counted(len(lacking), 'class', 'classes')}: {listed(lacking)}"
            )
    return classes


def grouped(entries: Iterable[Entry], pattern: str, root: str, notes: list[str]) -> list[Entry]:
    """`entries` with the groups that `pattern` finds in their paths from `root` on. Raises DataError.

    A group is what the first parenthesis of the pattern matches, or the whole pattern if it has none.
    """
    try:
        found_by = re.compile(pattern)
    except re.error as error:
        raise DataError(
            f"--group-by takes a regular expression or a column, but {pattern!r} is none ({error})"
        ) from None
    made, alone = [], 0
    for entry in entries:
        match = found_by.search(os.path.relpath(entry.found.path, root).replace(os.sep, "/"))
        group = None if match is None else (match[1] if found_by.groups else match[0])
        alone += group is None
        made.append(Entry(entry.found, entry.label, group))
    if made and alone == len(made):
        raise DataError(f"--group-by {pattern!r} matches no file name, such as {shown(made[0].found.path)}")
    if alone:
        notes.append(f"{counted(alone, 'file')} that --group-by does not match: each is a group of its own")
    return made
