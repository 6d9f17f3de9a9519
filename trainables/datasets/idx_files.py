"""IDX files as MNIST and its relatives are published, packed with gzip or not, lying anywhere in a folder."""

from __future__ import annotations

import gzip
import math
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainables.datasets.assembling import Arrays, assembled
from trainables.datasets.files import shown
from trainables.datasets.source import DataError, Reading, Source

NAME = re.compile(r"(?P<part>.*?)[-_.]?(?P<kind>images|labels)[-.]idx[13]-ubyte(\.gz)?", re.IGNORECASE)

PARTS = {"train": "train", "t10k": "test", "test": "test", "val": "val", "valid": "val", "validation": "val"}

UNSIGNED_BYTE = 8


def idx_folder(name: str, folder: Path, reading: Reading, classes: Sequence[str] | None = None) -> Source | None:
    """The set in the IDX files in `folder`, or in its folder `raw`; None if there are none. Raises DataError.

    `classes` are those of a known set that this must be.
    """
    found = _files(folder) or _files(folder / "raw")
    if not found:
        return None
    for part in ("train", *sorted({part for part, _ in found} - {"train"})):
        for kind in ("images", "labels"):
            if (part, kind) not in found:
                raise DataError(
                    f"{shown(str(folder))} has no IDX file of the {kind} of {part}; put it beside the others"
                )
    parts = [part for part in ("train", "val", "test") if (part, "images") in found]
    held = Arrays(
        images={part: read_idx(found[part, "images"], reading.limit) for part in parts},
        labels={part: read_idx(found[part, "labels"], reading.limit) for part in parts},
        image_keys={part: found[part, "images"].name for part in parts},
        label_keys={part: found[part, "labels"].name for part in parts},
        known=classes,
    )
    return assembled(name, shown(str(folder)), held, reading)


def _files(folder: Path) -> dict[tuple[str, str], Path]:
    """The IDX files in `folder` by part and kind; of a packed and a plain one of the same name the plain one."""
    found: dict[tuple[str, str], Path] = {}
    if not folder.is_dir():
        return found
    for path in sorted(folder.iterdir(), key=lambda each: (each.suffix != ".gz", each.name)):
        match = NAME.fullmatch(path.name)
        words = re.split(r"[^a-z0-9]+", match["part"].casefold()) if match else []
        part = next((PARTS[word] for word in words if word in PARTS), None)
        inside = path / path.name  # a file in a folder of its name, as some unpack it
        path = inside if inside.is_file() else path
        if not match or not part or not path.is_file():
            continue
        kind = match["kind"].casefold()
        before = found.setdefault((part, kind), path)
        if _plain(before) != _plain(path):
            raise DataError(
                f"{shown(str(folder))} has two IDX files of the {kind} of {part}, {shown(before.name)} and "
                f"{shown(path.name)}; put one set into a folder of its own"
            )
        found[part, kind] = path
    return found


def _plain(path: Path) -> str:
    """The name of an IDX file as it is when it is not packed, however its points and dashes are written."""
    return re.sub(r"[-_.]", "", path.name.casefold().removesuffix(".gz"))


def _is_packed(path: Path) -> bool:
    """Whether a file is gzip's, by what it begins with: browsers unpack some and keep the name."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def read_idx(path: Path, limit: int) -> Any:
    """The array of unsigned bytes in an IDX file. Raises DataError; no more is unpacked than the head announces."""
    import numpy as np

    try:
        with gzip.open(path, "rb") if _is_packed(path) else path.open("rb") as file:
            zeros, kind, axes = struct.unpack(">HBB", file.read(4))
            if zeros or kind != UNSIGNED_BYTE or not 1 <= axes <= 4:
                raise DataError(f"{shown(str(path))} is no IDX file of unsigned bytes")
            shape = struct.unpack(f">{axes}I", file.read(4 * axes))
            total = math.prod(shape)
            if total > limit:
                raise DataError(
                    f"{shown(str(path))} would take {total:,} bytes in memory, and {limit:,} are allowed; --data-limit "
                    "allows more, if the machine has them"
                )
            content = file.read(total + 1)
    except (OSError, EOFError, struct.error) as error:
        raise DataError(f"{shown(str(path))} cannot be read ({error}); copy it again") from None
    if len(content) != total:
        raise DataError(
            f"{shown(str(path))} announces {total:,} bytes and holds {'fewer' if len(content) < total else 'more'}"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)
