"""The parts that a search sees of a data set, in memory or mapped from files, and the digest of the data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from trainables.data import Data, Mapped, Split, deviations, of_splits, part
from trainables.datasets import cache
from trainables.datasets.source import DataError, Source, digest
from trainables.splits import held_out

VERSION = 1
"""Of the files that hold parted images."""

BLOCK = 16 * 2**20
"""Bytes of images that are read, hashed and written at a time."""


def parts(source: Source, kind: str, *, val_fraction: float, seed: int) -> tuple[Data, str]:
    """Train and validation part of `source`, and their digest; `kind` is "own", or one of `splits.KINDS`.

    Images that are mapped from a file are parted into another file, which the next run finds: no set need fit into
    memory. Raises DataError for a set that cannot be parted so.
    """
    train = source.train()
    if kind == "own":
        if source.val is None:
            raise DataError(f"{source.where} has no validation part of its own, as it had when the search began")
        val = source.val()
        splits = (Split(*train, source.files.get("train")), Split(*val, source.files.get("val")))
        return of_splits(*splits, source.classes), digest(train, val)
    groups = source.groups if kind == "by groups" else None
    try:
        mapped = _mapped(source, kind, groups, val_fraction, seed) if "train" in source.files else None
        data = mapped[0] if mapped else None
        if data is None:
            data = part(*train, source.classes, val_fraction=val_fraction, seed=seed, kind=kind, groups=groups)
    except ValueError as error:
        raise DataError(f"{source.where}: {error}") from None
    if mapped:
        return mapped
    return data, digest(train) if groups is None else digest(train, (groups,))


def file_names_of_val(source: Source, kind: str, *, val_fraction: float, seed: int) -> Sequence[str]:
    """What the pictures of the validation part that `parts` makes are called, in its order; () if they are no files."""
    if source.file_names is None:
        return ()
    if kind == "own":
        return source.file_names("val")
    groups = None if kind != "by groups" or source.groups is None else source.groups.tolist()
    rows = held_out(source.train()[1].tolist(), groups, kind=kind, val_fraction=val_fraction, seed=seed)
    names = source.file_names("train")
    return [names[row] for row in sorted(rows)]


def _mapped(
    source: Source, kind: str, groups: Tensor | None, val_fraction: float, seed: int
) -> tuple[Data, str] | None:
    """The same from files, read once from end to end; None where no file can be written."""
    images, labels = source.train()
    listed = None if groups is None else groups.tolist()
    rows = held_out(labels.tolist(), listed, kind=kind, val_fraction=val_fraction, seed=seed)
    mask = torch.zeros(len(labels), dtype=torch.bool)
    mask[rows] = True
    if not 0 < len(rows) < len(labels):
        raise ValueError(f"train and validation part need images, but have {len(labels) - len(rows)} and {len(rows)}")
    key = hashlib.sha256(f"{VERSION} {source.key} {kind} {labels.tolist()} {rows} {listed}".encode()).hexdigest()
    found = cache.kept(key)
    if found is None:
        found = _written(key, source, mask, groups)
    if found is None:
        return None
    about, stored = found
    count = len(labels) - len(rows)
    path, size = str(cache.folder() / key / cache.IMAGES), images[0].numel()
    splits = (
        Split(cache.tensor(stored[:count]), labels[~mask], Mapped(path, 0)),
        Split(cache.tensor(stored[count:]), labels[mask], Mapped(path, count * size)),
    )
    left = None if groups is None else groups[~mask]
    data = Data(*splits, source.classes, tuple(about["mean"]), tuple(about["std"]), groups=left)
    return data, str(about["sha256"])


def _written(key: str, source: Source, mask: Tensor, groups: Tensor | None) -> Any:
    """Write the images of the train part in two runs, those to train on first; hash and count them on the way."""
    import numpy as np

    images, labels = source.train()
    held, shape = mask.numpy(), tuple(images.shape)
    hash_, counts = hashlib.sha256(), np.zeros((shape[1], 256), np.int64)
    hash_.update(str(shape).encode())

    def blocks() -> Iterator[tuple[Any, Any]]:
        start = 0
        for block in _blocks(source.files["train"], shape):
            hash_.update(block.data)
            of = held[start : start + len(block)]
            for channel in range(shape[1]):
                counts[channel] += np.bincount(block[~of, channel].ravel(), minlength=256)
            yield block[~of], block[of]
            start += len(block)

    def about() -> dict[str, Any]:
        hash_.update(f"{tuple(labels.shape)}".encode())
        hash_.update(labels.numpy().data)
        if groups is not None:
            hash_.update(f"{tuple(groups.shape)}".encode())
            hash_.update(groups.numpy().data)
        mean, std = deviations(torch.from_numpy(counts))
        return {"sha256": hash_.hexdigest(), "mean": mean, "std": std}

    return cache.write(key, shape, int((~mask).sum()), blocks(), about)


def _blocks(file: Mapped, shape: tuple[int, ...]) -> Iterator[Any]:
    """The images in a file, some at a time, read and not mapped: what is read takes no memory afterwards."""
    import numpy as np

    size = int(np.prod(shape[1:]))
    at_once = max(1, BLOCK // size)
    with open(file.path, "rb") as stored:
        stored.seek(file.offset)
        for start in range(0, shape[0], at_once):
            count = min(at_once, shape[0] - start)
            yield np.frombuffer(stored.read(count * size), np.uint8).reshape(count, *shape[1:])
