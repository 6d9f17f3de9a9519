"""Data sets that are arrays: which array is what, by its name, and images and labels in one form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.datasets import array_files
from trainables.datasets.assembling import Arrays, assembled
from trainables.datasets.files import shown
from trainables.datasets.layout import PARTS, part_named
from trainables.datasets.source import DataError, Reading, Source, counted, listed

IMAGES = ("x", "images", "image", "imgs", "img", "data", "pixels", "pictures", "features", "inputs", "arr0")
LABELS = ("y", "labels", "label", "targets", "target", "classes", "class", "annotations", "t", "arr1")
NAMES = ("classnames", "labelnames", "classeslist", "listclasses", "names")
"""What people call images, labels and the names of classes; without underscores, in small letters."""


def array_file(path: Path, reading: Reading, classes: Sequence[str] | None = None, name: str = "") -> Source:
    """The set in one file of arrays; a lone `.npy` has its fellows beside it. Raises DataError.

    `classes` are those that a known set has, and then the file must have as many.
    """
    if path.suffix.lower() == ".npy":
        return array_folder(path.parent, reading)
    return _sorted_out(name or path.stem, str(path), array_files.load(path, reading.limit), reading, classes)


def array_folder(folder: Path, reading: Reading) -> Source:
    """The set in the `.npy` files of a folder: `x_train.npy`, `y_train.npy`, or `train/x.npy`. Raises DataError."""
    arrays: dict[str, Any] = {}
    for name, path in lone_arrays(folder).items():
        [arrays[name]] = array_files.load(path, reading.limit).values()
    return _sorted_out(folder.name or "arrays", str(folder), arrays, reading, None)


def lone_arrays(folder: Path) -> dict[str, Path]:
    """The `.npy` files in `folder`, and in folders there that are called after a part, by the names of their arrays."""
    parts = [each for each in sorted(folder.iterdir()) if part_named(each.name) and each.is_dir()]
    files = [path for place in (folder, *parts) for path in sorted(place.iterdir()) if _is_array(path)]
    return {str(path.relative_to(folder).with_suffix("")): path for path in files}


def _is_array(path: Path) -> bool:
    return path.suffix.casefold() == ".npy" and not path.name.startswith(".") and path.is_file()


def array_parts(name: str, where: str, paths: Sequence[Path], reading: Reading) -> Source:
    """The set in files of arrays that are called after its parts: `train.npz`, `test.npz`. Raises DataError."""
    found: dict[str, Path] = {}
    for path in paths:
        part = part_named(path.stem)
        if part is None or part in found or path.suffix.casefold() == ".npy":
            raise DataError(
                f"{where} holds {len(paths)} files of arrays, {listed([shown(each.name) for each in paths])}; name one"
            )
        found[part] = path
    arrays: dict[str, Any] = {}
    for part, path in found.items():
        arrays |= {f"{part}_{key}": array for key, array in array_files.load(path, reading.limit).items()}
    return _sorted_out(name, where, arrays, reading, None)


@dataclass
class _Named:
    """Arrays by part, with the keys under which they were found."""

    images: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    classes: str | None = None
    group: str | None = None
    unused: list[str] = field(default_factory=list)


def meaning(key: str) -> tuple[str, str] | None:
    """What an array is, `("x", "train")` or `("y", "test")`, by its name; None if the name says nothing."""
    words = [word for word in re.split(r"[^a-z0-9]+", key.casefold()) if word]
    part, rest = "train", []
    for word in words:
        if word in PARTS:
            part = PARTS[word]
        elif word != "set":  # train_set_x
            rest.append(word)
    name = "".join(rest)
    if name in IMAGES or name in LABELS:
        return ("x" if name in IMAGES else "y"), part
    # Written together: xtrain, trainX, testlabels.
    whole = "".join(words)
    for said, of in sorted(PARTS.items(), key=lambda each: -len(each[0])):
        for left in (whole.removeprefix(said), whole.removesuffix(said)):
            if left != whole and (left in IMAGES or left in LABELS):
                return ("x" if left in IMAGES else "y"), of
    return None


def _names(arrays: Mapping[str, Any], group_by: str | None, where: str) -> _Named:
    """Which array is what. Raises DataError if two could be the same."""
    named = _Named()
    for key, array in arrays.items():
        found = meaning(key)
        plain = re.sub(r"[^a-z0-9]", "", key.casefold())
        if key == group_by:
            named.group = key
        elif (
            (plain in NAMES or _are_names(key, arrays)) and getattr(array, "ndim", 0) == 1 and array.dtype.kind in "US"
        ):
            named.classes = key
        elif found is None or getattr(array, "ndim", 0) == 0:
            named.unused.append(key)
        else:
            kind, part = found
            of_kind = named.images if kind == "x" else named.labels
            if part in of_kind:
                raise DataError(
                    f"{where} has {of_kind[part]} and {key}, and both could be the "
                    f"{'images' if kind == 'x' else 'labels'} of {part}; leave one out, or rename it"
                )
            of_kind[part] = key
    return named


def _are_names(key: str, arrays: Mapping[str, Any]) -> bool:
    """Whether an array `classes` has the names of classes: each once, beside another array with the labels."""
    array = arrays[key]
    others = [each for each in arrays if each != key and meaning(each) == ("y", "train")]
    return key.casefold() == "classes" and bool(others) and len(set(array.reshape(-1).tolist())) == array.size


def _sorted_out(
    name: str, where: str, arrays: Mapping[str, Any], reading: Reading, classes: Sequence[str] | None
) -> Source:
    named = _names(arrays, reading.group_by, where)
    if "train" not in named.labels or "train" not in named.images:
        lacks = "x_train" if "train" not in named.images else "y_train"
        raise DataError(
            f"{where} lacks {lacks}; it needs x_train and y_train, may have x_val, y_val, x_test and y_test, and has "
            f"{listed(sorted(arrays)) or 'nothing'}"
        )
    for part in ("val", "test"):
        if (part in named.images) != (part in named.labels):
            has, lacks = ("x", "y") if part in named.images else ("y", "x")
            raise DataError(f"{where} has {has}_{part} but lacks {lacks}_{part}; give both or neither")
    if reading.group_by and named.group is None:
        raise DataError(f"--group-by {reading.group_by!r} is none of the arrays of {where}: {listed(sorted(arrays))}")
    notes = []
    plain = {"x": named.images, "y": named.labels}
    other = [
        f"{key} as {kind}_{part}" for kind, of in plain.items() for part, key in of.items() if key != f"{kind}_{part}"
    ]
    if other:
        notes.append(f"arrays are read by their names: {listed(other, 6)}")
    if named.unused:
        notes.append(f"{counted(len(named.unused), 'array')} passed over: {listed(sorted(named.unused))}")
    names = [_text(each) for each in arrays[named.classes].tolist()] if named.classes else None
    parts = [part for part in ("train", "val", "test") if part in named.images]
    held = Arrays(
        images={part: arrays[named.images[part]] for part in parts},
        labels={part: arrays[named.labels[part]] for part in parts},
        image_keys={part: named.images[part] for part in parts},
        label_keys={part: named.labels[part] for part in parts},
        groups=arrays[named.group] if named.group else None,
        names=names,
        known=classes,
        notes=notes,
    )
    return assembled(name, shown(where), held, reading)


def _text(name: str | bytes) -> str:
    return name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
