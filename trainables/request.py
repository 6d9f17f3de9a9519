"""What a model is asked about: pictures as people and programs have them, made into what its network takes.

A picture is the bytes of a file, their base64, a path, one of Pillow's, or an array. Numbers are taken for grey levels
only where they can mean nothing else; what could mean two things is refused, with what is wanted instead.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from trainables.pictures import Unreadable, image_of, image_of_array, image_of_picture

BATCH = 250
"""Pictures that are judged at a time."""

BRIGHT = 128
"""Data whose brightest grey level is below have a range of their own, as 0 to 16: a share of 1 is no share of 255."""

WANTED = "give whole grey levels from 0 to 255, or numbers from 0.0 to 1.0"


def brightest(images: Tensor) -> int:
    """The brightest grey level of `images`: 255 where that is the usual range, 0 where they are numbers (float32)."""
    if images.is_floating_point():
        return 0
    level = int(images.max()) if images.numel() else 255
    return level if level < BRIGHT else 255


@dataclass(frozen=True)
class Intake:
    """What a network takes: pictures of the `shape` (C, H, W), or numbers as they are.

    `brightest` is the brightest grey level that it was trained on, 255 if that is the usual range, and 0 if it was
    trained on float32 numbers, as points in the plane are.
    """

    shape: tuple[int, int, int]
    brightest: int = 255

    @property
    def numbers(self) -> bool:
        """Whether it takes numbers, and no pictures."""
        return not self.brightest or self.shape[1:] == (1, 1)

    def batches(self, given: Any, say: Callable[[str], None] = lambda text: None) -> Iterator[Any]:
        """What was `given` as arrays `(n, C, H, W)` of at most BATCH: uint8, or float32 of a network of numbers.

        `given` is a list of pictures, of any kind and size; an array `(N, H, W)` or `(N, H, W, C)`, C of 1 to 4; rows
        `(N, H·W)` for a model of grey pictures; a table or a mapping with one column of pictures; one picture alone; or
        an array of numbers `(N, features)`. `say` hears what had to be converted. Raises Unreadable for the rest.
        """
        items = _items(given)
        if self.numbers:
            yield self._numbers(items)
            return
        items = self._levels(self._block(items, say), say)
        for start in range(0, len(items), BATCH) if len(items) else (0,):
            yield self._pictures(items[start : start + BATCH], start, say)

    def _block(self, items: Any, say: Callable[[str], None]) -> Any:
        """An array of pictures with an axis for their number; a list stays as it is."""
        channels, height, width = self.shape
        if isinstance(items, list):
            return items
        if items.shape == ((height, width, channels) if channels > 1 else (height, width)):
            return items[None]
        if items.ndim == 2 and channels == 1 and items.shape[1] == height * width:
            say(f"rows of {height * width} numbers are read as pictures of {height}×{width}")
            return items.reshape(-1, height, width)
        if items.ndim < 3:
            raise Unreadable(
                f"an array {items.shape} holds no pictures of {height}×{width}; give (N, H, W), or (N, H, W, C) with C "
                "of 1 to 4"
            )
        return items

    def _levels(self, items: Any, say: Callable[[str], None]) -> Any:
        """`items` with all numbers as grey levels in 8 bits; those that are no uint8 are taken as one."""
        import numpy as np

        arrays = [each for each in items if isinstance(each, np.ndarray)] if isinstance(items, list) else [items]
        others = [array for array in arrays if array.dtype != np.uint8]
        if not others:
            return items
        scale = _scale(others, self.brightest, say)

        def levels(array: Any) -> Any:
            return array if array.dtype == np.uint8 else (array * scale).round().astype(np.uint8)

        if isinstance(items, list):
            return [levels(each) if isinstance(each, np.ndarray) else each for each in items]
        return levels(items)

    def _pictures(self, items: Any, first: int, say: Callable[[str], None]) -> Any:
        """uint8 `(n, C, H, W)` of some pictures, of which the first has the number `first`."""
        import numpy as np

        channels, height, width = self.shape
        own = [(height, width, channels)] + [(height, width)] * (channels == 1)
        if isinstance(items, np.ndarray) and items.shape[1:] in own:  # much sooner than one by one
            # A copy: what was given may be read-only, or somebody's whom no network is to change it for.
            made = np.array(items[:, None] if items.ndim == 3 else items.transpose(0, 3, 1, 2), order="C")
        else:
            made = np.empty((len(items), *self.shape), np.uint8)
            for number, picture in enumerate(items):
                try:
                    made[number] = _picture(picture, self.shape)
                except (Unreadable, OSError) as error:
                    raise Unreadable(f"picture {first + number}: {error}") from None
        self.check_range(made, say)
        return made

    def check_range(self, made: Any, say: Callable[[str], None]) -> None:
        """Say it where pictures are brighter than all that the network has ever seen."""
        if self.brightest < BRIGHT and len(made) and int(made.max()) > self.brightest:
            say(
                f"pictures have grey levels above {self.brightest}, the brightest that this model was trained on: its "
                "answers may mean nothing"
            )

    def _numbers(self, items: Any) -> Any:
        """float32 `(N, C, H, W)` of numbers as they are."""
        import numpy as np

        channels, height, width = self.shape
        wanted = f"(N, {channels})" if (height, width) == (1, 1) else f"(N, {channels}, {height}, {width})"
        try:
            numbers = np.array(items, np.float32)
        except (TypeError, ValueError):
            raise Unreadable(f"this model takes numbers {wanted}, and no pictures") from None
        if not np.isfinite(numbers).all():
            raise Unreadable("some numbers are not finite (NaN or infinite)")
        if (height, width) == (1, 1) and channels in (numbers.shape or (0,))[-1:] + numbers.shape[1:2]:
            return numbers.reshape(-1, channels, 1, 1)
        if numbers.shape[1:] == (height, width) and channels == 1:
            return numbers[:, None]
        if numbers.shape[1:] == (height, width, channels):
            return np.ascontiguousarray(numbers.transpose(0, 3, 1, 2))
        if numbers.shape[1:] != self.shape:
            raise Unreadable(f"this model takes numbers {wanted}, but got {numbers.shape}")
        return numbers


def _items(given: Any) -> Any:
    """What was given as an array of numbers, or as a list whose arrays are of numbers."""
    import numpy as np

    if isinstance(given, Mapping) and len(given) == 1:  # a table in the JSON that MLflow takes
        [given] = given.values()
    if hasattr(given, "columns"):
        given = _column(given)
    if hasattr(given, "detach"):
        given = given.detach().cpu().numpy()
    if isinstance(given, (bytes, bytearray, memoryview, str, os.PathLike)) or hasattr(given, "getbands"):
        return [given]
    if isinstance(given, np.ndarray) and given.dtype.kind in "OUS":
        given = given.tolist()
    if isinstance(given, np.ndarray):
        return given
    if not isinstance(given, Sequence):
        raise Unreadable(f"a {type(given).__name__} is no picture, no list of pictures and no array")
    if any(isinstance(each, (list, tuple, int, float)) for each in given):
        try:
            whole = np.asarray(given)
            if whole.dtype.kind in "buif":
                return whole
        except ValueError:  # pictures of several sizes
            pass
    return [_array(number, each) for number, each in enumerate(given)]


def _column(table: Any) -> Any:
    """The pictures in a table of pandas: its one column, or rows of numbers. Raises Unreadable."""
    names = list(table.columns)
    if len(names) == 1:
        return table[names[0]].tolist()
    rows = table.to_numpy()
    if rows.dtype.kind not in "buif":
        told = " ".join(", ".join(map(str, names[:5])).split()) + ", …" * (len(names) > 5)
        raise Unreadable(f"a table of {len(names)} columns ({told}) does not say which has the pictures; give that one")
    return rows


def _array(number: int, picture: Any) -> Any:
    """A picture that is numbers as an array; others stay as they are."""
    import numpy as np

    if hasattr(picture, "detach"):
        return picture.detach().cpu().numpy()
    if not isinstance(picture, (list, tuple, int, float)):
        return picture
    try:
        array = np.asarray(picture)
    except ValueError:
        raise Unreadable(f"picture {number}: its rows have several lengths") from None
    if array.dtype.kind not in "buif":
        raise Unreadable(f"picture {number}: it holds other things than numbers")
    return array


def _picture(picture: Any, shape: tuple[int, int, int]) -> Any:
    """uint8 `shape` of a picture of any kind. Raises Unreadable."""
    if isinstance(picture, str):
        picture = _decoded(picture)
    if isinstance(picture, os.PathLike):
        with open(picture, "rb") as file:
            picture = file.read()
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return image_of(bytes(picture), shape)
    if hasattr(picture, "getbands"):
        return image_of_picture(picture.copy(), shape)  # which is turned in its place
    return image_of_array(picture, shape)


def _decoded(text: str) -> bytes:
    """The file whose base64 `text` is, also as browsers write it (`data:image/png;base64,…`). Raises Unreadable.

    Text is never a path: who asks a server must not have it open its files.
    """
    head, comma, rest = text.partition(",")
    try:
        plain = "".join((rest if comma and head.startswith("data:") else text).split())
        return base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError):
        raise Unreadable(
            "text is read as a file in base64, and this is none; a path is given as pathlib.Path"
        ) from None


def _scale(arrays: Sequence[Any], brightest: int, say: Callable[[str], None]) -> float:
    """By what the numbers of `arrays`, none of which is uint8, are multiplied to be grey levels. Raises Unreadable."""
    import numpy as np

    kinds = {array.dtype.kind for array in arrays}
    if not kinds <= set("buif"):
        raise Unreadable(f"arrays of {', '.join(sorted({str(array.dtype) for array in arrays}))} are no pictures")
    if not all(np.isfinite(array).all() for array in arrays):
        raise Unreadable("some numbers are not finite (NaN or infinite)")
    if kinds == {"b"}:
        say("truth values are read as black and white")
        return 255.0
    full = [array for array in arrays if array.size]
    low = min((float(array.min()) for array in full), default=0.0)
    high = max((float(array.max()) for array in full), default=0.0)
    if low < 0 or high > 255:
        raise Unreadable(f"numbers from {low:g} to {high:g} are no grey levels; {WANTED}, before they are normalised")
    if 0 < high <= 1 and "f" in kinds:
        if brightest < BRIGHT:
            raise Unreadable(
                f"numbers from {low:g} to {high:g} could be shares of 255 or of {brightest}, the brightest grey level "
                f"that this model was trained on; give whole levels from 0 to {brightest}"
            )
        say("numbers from 0.0 to 1.0 are read as shares of 255")
        return 255.0
    if 0 < high <= 1 and brightest >= BRIGHT:
        raise Unreadable("whole numbers 0 and 1 could be black and white, or two dark greys; give 0 and 255")
    if not all((array == np.floor(array)).all() for array in full if array.dtype.kind == "f"):
        if high < 2:
            raise Unreadable(f"numbers from {low:g} to {high:g} could be shares of 1 or grey levels; {WANTED}")
        say("fractions of grey levels are rounded")
    return 1.0
