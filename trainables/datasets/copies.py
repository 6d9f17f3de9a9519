"""Pictures that are the same, pixel for pixel: those that are in two parts, and those that must stay in one."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from trainables.datasets.source import counted


def hashes(images: Any) -> Any:
    """A hash of 16 bytes of the pixels of each of `images` `(N, …)` uint8: `(N, 16)` uint8."""
    import numpy as np

    made = np.empty((len(images), 16), np.uint8)
    for row, image in enumerate(images):
        content = np.ascontiguousarray(image).data
        made[row] = np.frombuffer(hashlib.blake2b(content, digest_size=16).digest(), np.uint8)
    return made


def across(hashes: Mapping[str, Any], labels: Mapping[str, Sequence[str]]) -> list[str]:
    """A warning for each pair of parts with equal pictures; `hashes` `(N, 16)` and `labels` are those of each part."""
    said = []
    seen = {part: _first(of) for part, of in hashes.items()}
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        if one not in seen or other not in seen:
            continue
        shared = [(row, seen[one][key]) for row, key in enumerate(_keys(hashes[other])) if key in seen[one]]
        if shared:
            otherwise = sum(labels[other][row] != labels[one][first] for row, first in shared)
            also = f", {otherwise:,} of them as another class" if otherwise else ""
            said.append(
                f"{len(shared):,} of {counted(len(labels[other]), 'picture')} of {other} are in {one} too{also}: what "
                f"is measured on {other} is too good"
            )
    return said


def within(hashes: Mapping[str, Any], labels: Mapping[str, Sequence[str]]) -> list[str]:
    """A warning for each part in which a picture stands in two classes; arguments as for `across`."""
    said = []
    for part, of in hashes.items():
        first = _first(of)
        otherwise = sum(labels[part][row] != labels[part][first[key]] for row, key in enumerate(_keys(of)))
        if otherwise:
            said.append(
                f"{otherwise:,} of {counted(len(labels[part]), 'picture')} of {part} are there as another class too: "
                "one of the two labels is wrong"
            )
    return said


ALIKE = 6
"""Pictures whose gradients differ in at most so many of 128 signs look alike."""


def near(images: Mapping[str, Tensor], equal: Mapping[str, Any] | None = None) -> list[str]:
    """A warning for each pair of parts with pictures that look alike and are not equal; `images` `(N, C, H, W)` uint8.

    Compared are the signs of 64 horizontal and 64 vertical differences in a picture of 8×8 grey fields (dHash, Krawetz
    2013). Pictures without contrast are left out. `equal` are the hashes of the pixels where they are known.
    """
    import numpy as np

    known = equal or {part: hashes(of.numpy()) for part, of in images.items()}
    looks = {part: _looks(of) for part, of in images.items()}
    said = []
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        if one not in looks or other not in looks:
            continue
        (first, first_flat), (second, second_flat) = looks[one], looks[other]
        same = _first(known[one])
        found = 0
        for row, key in enumerate(_keys(known[other])):
            if key in same or second_flat[row]:
                continue
            differs = np.bitwise_count(first ^ second[row]).sum(1)
            found += bool(((differs <= ALIKE) & ~first_flat).any())
        if found:
            said.append(
                f"{found:,} of {counted(len(second), 'picture')} of {other} look like one of {one} and are not equal; "
                "frames of one film, or copies that were changed?"
            )
    return said


def _looks(images: Tensor) -> tuple[Any, Any]:
    """The signs of each picture's gradients, `(N, 2)` uint64, and whether it has hardly any contrast, `(N,)`."""
    import numpy as np
    import torch
    import torch.nn.functional as F

    signs, flat = [], []
    for some in images.split(1024):
        fields = F.adaptive_avg_pool2d(some.float().mean(1, keepdim=True), (9, 9))[:, 0]
        across = fields[:, :8, 1:] > fields[:, :8, :-1]
        down = fields[:, 1:, :8] > fields[:, :-1, :8]
        bits = torch.cat([across.flatten(1), down.flatten(1)], 1).numpy()
        signs.append(np.packbits(bits, axis=1).view(np.uint64))
        flat.append((fields.flatten(1).std(1) < 2.0).numpy())
    return np.concatenate(signs), np.concatenate(flat)


def groups(named: Sequence[str | None], hashes: Any) -> tuple[Tensor | None, str]:
    """Which of the training images must stay together, `(N,)` int64, and a line about it; None if none must.

    Images of one named group do, and those that are equal; of two images without a group only equal ones.
    """
    import torch

    first, said = _first(hashes), []
    equal = [first[key] for key in _keys(hashes)]
    copies = sum(row != of for row, of in enumerate(equal))
    by_name = {group: row for row, group in reversed([*enumerate(named)]) if group is not None}
    if copies and Counter(equal).most_common(1)[0][1] > len(equal) / 2:
        said.append(f"more than half of the {len(equal):,} training pictures are one and the same")
        equal = list(range(len(equal)))
    elif copies:
        said.append(
            f"{copies:,} of {counted(len(equal), 'training picture')} are copies of others, kept in the same part"
        )
    if by_name:
        said.append(f"{counted(len(by_name), 'group')} of training pictures, each kept in one part")
    joined = _Joined(len(equal))
    for row, (of, group) in enumerate(zip(equal, named, strict=True)):
        joined.join(row, of)
        if group is not None:
            joined.join(row, by_name[group])
    roots = [joined.root(row) for row in range(len(equal))]
    alone = len(set(roots)) == len(roots)
    return None if alone else torch.tensor(roots, dtype=torch.int64), "; ".join(said)


class _Joined:
    """Rows, some of which were joined."""

    def __init__(self, count: int) -> None:
        self._above = list(range(count))

    def root(self, row: int) -> int:
        """The row that stands for all that `row` was joined with."""
        while self._above[row] != row:
            self._above[row] = self._above[self._above[row]]
            row = self._above[row]
        return row

    def join(self, one: int, other: int) -> None:
        """Join two rows, and all that they were joined with."""
        first, second = sorted((self.root(one), self.root(other)))
        self._above[second] = first


def _keys(hashes: Any) -> list[bytes]:
    return [row.tobytes() for row in hashes]


def _first(hashes: Any) -> dict[bytes, int]:
    """The first row with each hash."""
    found: dict[bytes, int] = {}
    for row, key in enumerate(_keys(hashes)):
        found.setdefault(key, row)
    return found
