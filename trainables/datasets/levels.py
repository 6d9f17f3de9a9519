"""Arrays of pictures in whatever shape and type, made into uint8 `(N, C, H, W)`; what was done is said."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainables.datasets.source import DataError

CHUNK = 64 * 2**20
"""Bytes of an array that are worked on at a time."""

SHAPES = "N×H×W, N×H×W×C or N×C×H×W with C of 1, 3 or 4, or N×P with a square number of pixels P, in grey or in colour"


def to_levels(arrays: Mapping[str, Any], keys: Mapping[str, str], where: str) -> tuple[dict[str, Any], list[str]]:
    """The pictures of all parts as uint8 `(N, C, H, W)`, C of 1 or 3, and what was done to get there.

    `keys` are the names of the arrays in the file, for people. What is found in one part holds for all: the order of
    axes, and the range of grey levels. Raises DataError for what are no pictures.
    """
    notes: list[str] = []
    first = arrays["train"]
    made = {}
    for part, array in arrays.items():
        if array.shape[1:] != first.shape[1:]:
            if _like_grey(array) != _like_grey(first) or len({_plain(array), _plain(first)}) > 1:
                raise DataError(
                    f"{where}: {keys[part]} has pictures of shape {array.shape[1:]}, {keys['train']} of "
                    f"{first.shape[1:]}; make them alike"
                )
            array = array.reshape(len(array), *first.shape[1:])
        made[part] = array
    scale, said = _scale(made, keys, where)
    notes += said
    order, said = _order(first, keys["train"], where)
    notes += said
    channels = {"grey": 1, "alpha": 1, "colour": 3, "colour and alpha": 3}[order.meaning]
    done = {}
    for part, array in made.items():
        height, width = order.sides
        images = _empty((len(array), channels, height, width))
        step = max(1, CHUNK // max(1, math.prod(array.shape[1:]) * 8))
        for start in range(0, len(array), step):
            images[start : start + step] = order.apply(scale(array[start : start + step]))
        done[part] = images
    return done, notes


class _Order:
    """How an array is to be read: the `shape` of a picture, its `axes` in the order C, H, W, and what they mean."""

    def __init__(self, shape: tuple[int, ...], axes: tuple[int, ...], meaning: str) -> None:
        self.shape, self.axes, self.meaning = shape, axes, meaning

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width."""
        return self.shape[self.axes[1]], self.shape[self.axes[2]]

    def apply(self, array: Any) -> Any:
        """uint8 `(N, …)` as `(N, C, H, W)` of one channel or three."""
        import numpy as np

        images = array.reshape(len(array), *self.shape).transpose(0, *(axis + 1 for axis in self.axes))
        if not self.meaning.endswith("alpha"):
            return images
        colour, alpha = images[:, :-1].astype(np.float32), images[:, -1:].astype(np.float32) / 255.0
        return (colour * alpha + 255.0 * (1.0 - alpha)).round().astype(np.uint8)


MEANINGS = {1: "grey", 2: "alpha", 3: "colour", 4: "colour and alpha"}


def _order(array: Any, key: str, where: str) -> tuple[_Order, list[str]]:
    """How to read the axes of `array`, and what must be said of it. Raises DataError."""
    shape = array.shape[1:]
    if 0 in shape:
        raise DataError(f"{where}: {key} holds pictures without pixels: {array.shape}")
    if len(shape) == 2:
        return _Order((1, *shape), (0, 1, 2), "grey"), []
    if len(shape) == 3 and shape[2] in MEANINGS and not (shape[0] in (1, 3) and shape[2] == 2):
        alpha = {2: "grey and alpha", 4: "red, green, blue and alpha"}.get(shape[2])
        said = [f"{key}: {shape[2]} channels are read as {alpha}, laid on white"] if alpha else []
        return _Order(shape, (2, 0, 1), MEANINGS[shape[2]]), said
    if len(shape) == 3 and shape[0] in MEANINGS:
        said = [f"{key}: the first axis of a picture, {shape[0]}, is read as its channels"]
        if shape[0] in (2, 4):
            said = [f"{said[0]}, the last of them as alpha, laid on white"]
        return _Order(shape, (0, 1, 2), MEANINGS[shape[0]]), said
    if len(shape) == 1:
        return _flat(array, key, where)
    raise DataError(f"{where}: {key} must have shape {SHAPES}, but has {array.shape}")


def _flat(array: Any, key: str, where: str) -> tuple[_Order, list[str]]:
    """Pictures as rows: grey if the pixels make a square, in colour if a third of them do."""
    pixels = array.shape[1]
    side = math.isqrt(pixels)
    if side * side == pixels:
        return _Order((1, side, side), (0, 1, 2), "grey"), [f"{key}: rows of {pixels} pixels are read as {side}×{side}"]
    side = math.isqrt(pixels // 3)
    if 3 * side * side != pixels:
        raise DataError(f"{where}: {key} must have shape {SHAPES}, but has {array.shape}")
    import numpy as np

    some = np.asarray(array[:: max(1, len(array) // 50)], np.float32)

    def roughness(images: Any) -> float:
        if side == 1:
            return 0.0
        return float(np.abs(np.diff(images, axis=2)).mean() + np.abs(np.diff(images, axis=3)).mean())

    planes = roughness(some.reshape(-1, 3, side, side))
    mixed = roughness(some.reshape(-1, side, side, 3).transpose(0, 3, 1, 2))
    first = planes <= mixed  # neighbours in a picture are alike, read in the right order
    said = f"{key}: rows of {pixels} values are read as {side}×{side} in colour, " + (
        "all red values first" if first else "red, green and blue of a pixel together"
    )
    return (_Order((3, side, side), (0, 1, 2), "colour") if first else _Order((side, side, 3), (2, 0, 1), "colour")), [
        said
    ]


def _scale(arrays: Mapping[str, Any], keys: Mapping[str, str], where: str) -> tuple[Any, list[str]]:
    """What brings the values of all parts to 0 … 255, and what must be said of it. Raises DataError.

    Parts of one type have one range; parts of several types are read only if all come to the same.
    """
    by_type: dict[str, dict[str, Any]] = {}
    for part, array in arrays.items():
        by_type.setdefault(str(array.dtype), {})[part] = array
    rules = [_rule(of, kind, keys, where) for kind, of in by_type.items()]
    if len({(rule.add, rule.times) for rule in rules}) > 1:
        told = [f"{', '.join(keys[part] for part in of)} of {kind}" for kind, of in by_type.items()]
        raise DataError(f"{where} has {' and '.join(told)} in different ranges of grey levels; save all alike")
    return rules[0].apply, [rule.said for rule in rules if rule.said]


@dataclass(frozen=True)
class _Rule:
    """How values become grey levels: `add` is added, then all is multiplied by `times`; `said` is said of it."""

    add: float = 0.0
    times: float = 1.0
    said: str = ""

    def apply(self, array: Any) -> Any:
        """uint8 levels of some values."""
        import numpy as np

        if (self.add, self.times) == (0.0, 1.0) and array.dtype.kind in "ui":
            return array.astype(np.uint8, copy=False)
        return ((np.asarray(array, np.float64) + self.add) * self.times).round().astype(np.uint8)


def _rule(arrays: Mapping[str, Any], kind: str, keys: Mapping[str, str], where: str) -> _Rule:
    """How the values of some parts, all of the type `kind`, are read. Raises DataError."""
    names = ", ".join(keys[part] for part in arrays)
    if kind == "uint8":
        return _Rule()
    if kind == "bool":
        return _Rule(times=255.0, said=f"{names}: truth values are read as 0 and 255")
    if next(iter(arrays.values())).dtype.kind not in "uif":
        raise DataError(f"{where}: {names} must hold numbers, but hold {kind}")
    ranges = {part: _range({part: array}, keys, where) for part, array in arrays.items()}
    low, high = min(each[0] for each in ranges.values()), max(each[1] for each in ranges.values())
    if high > 1:
        _refuse_shares(arrays, ranges, keys, where)
    said = f"{names}: {kind} from {low:g} to {high:g} are read as "
    whole = kind.startswith(("int", "uint", ">i", "<i", ">u", "<u"))
    if low >= 0 and high <= 1 and not whole:
        return _Rule(times=255.0, said=said + "0 … 1, 1 as white")
    if low >= -1 and high <= 1 and not whole:
        return _Rule(add=1.0, times=127.5, said=said + "-1 … 1, 1 as white")
    if low >= 0 and high <= 255:
        return _Rule(said=said + "0 … 255, in 8 bits")
    if low >= 0 and high <= 65535 and whole:
        few = f"; that leaves {high / 257 + 1:.0f} of 256 levels, so stretch them before" if high < 65535 / 16 else ""
        return _Rule(times=255.0 / 65535.0, said=f"{said}16 bits, 65535 as white{few}")
    raise DataError(
        f"{where}: {names} must hold grey levels from 0 to 255, 0 to 65535, 0.0 to 1.0 or -1.0 to 1.0, but hold {kind} "
        f"from {low:g} to {high:g}; save them before they are normalised"
    )


def _refuse_shares(
    arrays: Mapping[str, Any], ranges: Mapping[str, tuple[float, float]], keys: Mapping[str, str], where: str
) -> None:
    """Raise DataError for a part whose levels are shares of white, read as 0 … 255: it would come out black.

    Such are real numbers that go little beyond 1, or not beyond it where another part goes to 255.
    """
    for part, (low, high) in ranges.items():
        some = arrays[part][:: max(1, len(arrays[part]) // 100)]
        if arrays[part].dtype.kind == "f" and low >= 0 and high <= 2 and bool((some != some.round()).any()):
            others = "".join(
                f", and {keys[other]} from {first:g} to {last:g}"
                for other, (first, last) in ranges.items()
                if other != part
            )
            raise DataError(
                f"{where}: {keys[part]} has levels from {low:g} to {high:g}{others}; bring all to 0 … 1, or all to "
                "0 … 255"
            )


def _range(arrays: Mapping[str, Any], keys: Mapping[str, str], where: str) -> tuple[float, float]:
    """The smallest and the largest value of all parts. Raises DataError if one is no finite number."""
    import numpy as np

    low, high = math.inf, -math.inf
    for part, array in arrays.items():
        step = max(1, CHUNK // max(1, math.prod(array.shape[1:]) * array.dtype.itemsize))
        for start in range(0, len(array), step):
            some = array[start : start + step]
            if some.dtype.kind == "f" and not np.isfinite(some).all():
                count = int((~np.isfinite(some)).sum())
                raise DataError(
                    f"{where}: {keys[part]} has {count:,} values that are no finite number (NaN); remove them"
                )
            if some.size:
                low, high = min(low, float(some.min())), max(high, float(some.max()))
    return (low, high) if low <= high else (0.0, 0.0)


def _plain(array: Any) -> tuple[int, ...]:
    """The shape of a picture without an axis of one channel."""
    shape = array.shape[1:]
    return tuple(shape[:2]) if len(shape) == 3 and shape[2] == 1 else tuple(shape)


def _like_grey(array: Any) -> bool:
    return len(_plain(array)) == 2


def _empty(shape: tuple[int, ...]) -> Any:
    import numpy as np

    return np.empty(shape, np.uint8)
