"""A picture as people have it, made into the image that a network sees: one place for a search and for what it serves.

Turned as its EXIF says, laid on white where it is transparent, brought to 8 bits, cut to the square in the middle, and
resized with antialiasing. Pillow decodes; a JPEG that is far larger than what is wanted is decoded smaller (`draft`).
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "PPM")
"""What Pillow may take a file for. Others start programs (EPS), or are no pictures that people classify."""

SPARE = 1.5
"""A JPEG is decoded at a half, a quarter or an eighth of its size if it then is at least so many times too large."""


HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
"""How files of HEIC and its relatives call themselves."""


class Unreadable(ValueError):
    """A file or an array that is no picture; the message says in a few words why."""


@dataclass(frozen=True)
class Head:
    """What the head of a picture says: (width, height) as a viewer shows it, and what must be done with it.

    `grey` says that no pixel can have a colour; `kind` is the format, `mode` Pillow's.
    """

    size: tuple[int, int]
    kind: str
    mode: str
    grey: bool
    turned: bool
    transparent: bool
    animated: bool


def prepare() -> None:
    """Let Pillow find its formats, which it must not begin on several threads at once."""
    from PIL import Image

    Image.init()


def opened(file: IO[bytes]) -> Any:
    """The picture in `file`, of which only the head is read. Raises Unreadable.

    Pictures of more pixels than Pillow's limit (89 million) are refused by their heads, before they are unpacked.
    """
    from PIL import Image

    try:
        picture = Image.open(file, formats=FORMATS)
    except Exception as error:  # Pillow raises whatever its parsers meet: OSError, ValueError, struct.error, …
        raise Unreadable(_why(file, error)) from None
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and picture.width * picture.height > most:
        raise Unreadable(f"it has {picture.width}×{picture.height} pixels, allowed are {most:,}")
    return picture


def head(picture: Any) -> Head:
    """What the head of an opened picture says. Raises Unreadable."""
    try:
        # A PNG tells of its EXIF at its end, too; to look there would be to decode it. A TIFF has turned its size.
        looked = "exif" in picture.info if picture.format == "PNG" else True
        turned = _orientation(picture) if looked else 1
        return Head(
            size=picture.size[::-1] if 5 <= turned <= 8 and picture.format != "TIFF" else picture.size,
            kind=picture.format or "",
            mode=picture.mode,
            grey=_is_grey(picture),
            turned=2 <= turned <= 8,
            transparent=bool(picture.has_transparency_data),
            animated=bool(getattr(picture, "is_animated", False)),
        )
    except Exception as error:
        raise Unreadable(_one_line(error)) from None


def decoded(picture: Any, channels: int, size: int | None = None) -> Any:
    """An opened picture as Pillow's "L" (1 channel) or "RGB" (3), upright, on white. Raises Unreadable.

    If it is to be fitted into `size` pixels, a JPEG may come out smaller than it is, but `SPARE` times that at least.
    """
    from PIL import ImageOps

    try:
        if size is not None and picture.format in ("JPEG", "MPO"):
            least = int(SPARE * size)
            picture.draft(None, (least, least))
        picture.load()
        if 2 <= _orientation(picture) <= 8:
            ImageOps.exif_transpose(picture, in_place=True)
        return _eight_bits(picture, "L" if channels == 1 else "RGB")
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(_one_line(error)) from None


def fitted(image: Any, size: int) -> Any:
    """The square in the middle of `image`, resized to `size`×`size` with antialiasing (bilinear).

    That is: the short side resized to `size`, and the middle cut out, in one step.
    """
    from PIL import Image

    width, height = image.size
    side = min(width, height)
    if (width, height) == (size, size):
        return image
    left, top = (width - side) / 2, (height - side) / 2
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))


def pixels(image: Any) -> Any:
    """uint8 `(C, H, W)` of an image in the mode "L" or "RGB"."""
    import numpy as np

    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def image_of(content: bytes, shape: tuple[int, int, int]) -> Any:
    """The file with these bytes as a network of images `(C, H, W)` sees it: uint8 of that shape. Raises Unreadable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with opened(io.BytesIO(content)) as picture:
            return image_of_picture(picture, shape)


def image_of_picture(picture: Any, shape: tuple[int, int, int]) -> Any:
    """The same of a picture that Pillow has opened."""
    channels, height, width = shape
    return _into(decoded(picture, channels, height if height == width else None), shape)


def image_of_array(array: Any, shape: tuple[int, int, int]) -> Any:
    """The picture `(H, W)`, `(H, W, C)` or `(C, H, W)` as a network of images sees it: uint8 `shape`.

    `array` is uint8 with C of 1 to 4; C stands first only if it is 1 or 3 and the last axis can be no colours.
    """
    import numpy as np
    from PIL import Image

    array = np.asarray(array)
    if array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 255:
        array = array.astype(np.uint8)
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] > 4:
        array = array.transpose(1, 2, 0)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 2, 3, 4)):
        raise Unreadable(
            f"a picture is uint8 (H, W) or (H, W, C), C of 1 to 4, but this is {array.dtype} {array.shape}"
        )
    if not array.size:
        raise Unreadable(f"a picture {array.shape} has no pixels")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    picture = Image.fromarray(np.ascontiguousarray(array))
    return _into(_eight_bits(picture, "L" if shape[0] == 1 else "RGB"), shape)


def images_of(pictures: Sequence[Any], shape: tuple[int, int, int]) -> Any:
    """uint8 `(N, C, H, W)` of pictures of any size: bytes of files, paths of files, or arrays. Raises Unreadable.

    The code of models that were registered until November 2026 calls it; `trainables.request` takes more.
    """
    import numpy as np

    made = np.empty((len(pictures), *shape), np.uint8)
    for number, picture in enumerate(pictures):
        try:
            if isinstance(picture, (str, os.PathLike)):
                with open(picture, "rb") as file:
                    picture = file.read()
            whole = isinstance(picture, (bytes, bytearray, memoryview))
            made[number] = image_of(bytes(picture), shape) if whole else image_of_array(picture, shape)
        except (Unreadable, OSError) as error:
            raise Unreadable(f"picture {number}: {error}") from None
    return made


def _into(image: Any, shape: tuple[int, int, int]) -> Any:
    """`image` in the shape that a network wants; what is no square there was never fitted, so it must fit as it is."""
    _, height, width = shape
    if image.size != (width, height) and height != width:
        raise Unreadable(f"it has {image.width}×{image.height} pixels, but this model was trained on {width}×{height}")
    return pixels(image if image.size == (width, height) else fitted(image, height))


def _is_grey(picture: Any) -> bool:
    if picture.mode == "P":
        levels = picture.getpalette("RGB") or []
        return levels[0::3] == levels[1::3] == levels[2::3]
    return picture.mode in ("1", "L", "LA", "La", "I", "F") or picture.mode.startswith("I;16")


def _orientation(picture: Any) -> int:
    """EXIF's orientation, 1 to 8; 1 (upright) where there is none, or where it cannot be read."""
    try:
        return int(picture.getexif().get(0x0112, 1))
    except Exception:  # a damaged note beside a sound picture
        return 1


def _eight_bits(picture: Any, mode: str) -> Any:
    """`picture`, which is loaded, in `mode` "L" or "RGB"."""
    from PIL import Image

    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return _from_deep(picture).convert(mode)
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture.convert("RGBA")).convert(mode)
    return picture if picture.mode == mode else picture.convert(mode)


def _from_deep(picture: Any) -> Any:
    """A picture of more than 8 bits a pixel, with its whole range brought to 0 … 255."""
    import numpy as np
    from PIL import Image

    levels = np.asarray(picture)
    low, high = (float(levels.min()), float(levels.max())) if levels.size else (0.0, 0.0)
    if not 0 <= low <= high < float("inf"):
        raise Unreadable(f"its grey levels go from {low:g} to {high:g}; save it with 0 to 255")
    if picture.mode.startswith("I;16"):
        top = 65535.0
    else:  # 32 bits, whose range nothing tells: the smallest usual one that holds all levels
        ranges = (1.0, 255.0, 65535.0) if picture.mode == "F" else (255.0, 65535.0)
        top = next((each for each in ranges if high <= each), 0.0)
        if not top:
            raise Unreadable(f"its grey levels go up to {high:g}; save it with 0 to 255")
    return Image.fromarray((levels.astype(np.float32) * (255.0 / top)).round().astype(np.uint8))


def _why(file: IO[bytes], error: Exception) -> str:
    """Why `file` cannot be opened, by what it begins with."""
    from PIL import Image

    if isinstance(error, Image.DecompressionBombError):
        return "it has more pixels than are allowed: a decompression bomb"
    start = b""
    with suppress(OSError, ValueError):
        file.seek(0)
        start = file.read(512)
    if not start:
        return "it is empty"
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS and no picture; `git lfs pull` fetches the picture"
    if b"/annex/objects/" in start[:300]:
        return "it is a pointer of git-annex and no picture; `git annex get` fetches the picture"
    kind = start[8:12] if start[4:8] == b"ftyp" else b""
    if kind in HEIC:
        return "it is HEIC, which is not read here; save it as JPEG"
    if kind and kind not in (b"avif", b"avis"):
        return "it is a film or sound in MPEG-4"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "it is a page or drawing in HTML, XML or SVG"
    if not start.strip(b"\0"):
        return "it is full of zeros"
    if all(9 <= byte < 127 or byte > 159 for byte in start):
        return "it is text"
    return "it is no picture of a known kind" if "cannot identify" in str(error) else _one_line(error)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
