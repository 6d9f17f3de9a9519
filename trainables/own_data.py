"""Data of a user's own, from a function in the study: `Study(data=load)`, where `load()` returns `data_of(…)`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainables.data import Data, Split, statistics
from trainables.datasets import DataError, Source, digest

Part = Any
"""A `Split`, a pair of images and labels, or what has a length and gives pairs of an image tensor and a label."""


def data_of(train: Part, val: Part, *, classes: Sequence[str], test: Part | Callable[[], Part] | None = None) -> Data:
    """Data for a search, whole in memory: images `(N, C, H, W)` uint8 or float32, labels from 0 to `classes` - 1.

    A part may be a data set of torch, of which each picture is taken once. `test` is read when the winner is measured,
    and not before; it may be a function that reads it. Raises DataError for parts that do not fit each other.
    """
    parts = {"train": split_of(train, "train", classes), "val": split_of(val, "val", classes)}
    shapes = {name: tuple(part.images.shape[1:]) for name, part in parts.items()}
    if shapes["train"] != shapes["val"] or parts["train"].images.dtype != parts["val"].images.dtype:
        raise DataError(f"train and val must hold images of one kind, but hold {shapes['train']} and {shapes['val']}")

    def opened() -> tuple[Tensor, Tensor]:
        split = split_of(test() if callable(test) else test, "test", classes)
        return split.images, split.labels

    mean, std = statistics(parts["train"].images)
    return Data(parts["train"], parts["val"], tuple(map(str, classes)), mean, std, None if test is None else opened)


def split_of(part: Part, name: str, classes: Sequence[str]) -> Split:
    """`part` as tensors, checked; `name` is for the message. Raises DataError."""
    if isinstance(part, Split):
        images, labels = part.images, part.labels
    elif isinstance(part, tuple) and len(part) == 2:
        images, labels = torch.as_tensor(part[0]), torch.as_tensor(part[1])
    else:
        images, labels = _collected(part, name)
    if images.ndim != 4 or images.dtype not in (torch.uint8, torch.float32):
        raise DataError(
            f"{name} must hold images (N, C, H, W) of uint8 or float32, but holds {tuple(images.shape)} {images.dtype}"
        )
    if labels.ndim != 1 or labels.is_floating_point() or len(labels) != len(images):
        raise DataError(f"{name} has {len(images)} images, but labels {tuple(labels.shape)} {labels.dtype}")
    if not len(images) or labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(f"{name} must have images with labels from 0 to {len(classes) - 1}")
    return Split(images.contiguous(), labels.to(torch.int64))


def read_by(load: Callable[[], Data], *, instead_of: Path | None = None) -> tuple[Source, Data, str]:
    """What `load` returns, where it comes from, and the SHA-256 of train and validation part.

    Raises DataError if that is no data, or if other data were asked for by a path (`instead_of`).
    """
    if instead_of is not None:
        raise DataError(f"the study reads its own data by {load.__name__}(); leave --data {instead_of} out")
    try:
        data = load()
    except DataError:
        raise
    except Exception as error:  # whatever a user's code does
        raise DataError(f"{load.__name__}() could not read the data: {type(error).__name__}: {error}") from None
    if not isinstance(data, Data):
        raise DataError(f"{load.__name__}() must return data_of(train, val, classes=…), not a {type(data).__name__}")

    def train() -> tuple[Tensor, Tensor]:
        return data.train.images, data.train.labels

    where = f"{load.__name__}() of the study"
    source = Source(load.__name__, where, data.classes, train, data.test)
    digests = [digest((split.images, split.labels)) for split in (data.train, data.val)]
    return source, data, hashlib.sha256("".join(digests).encode()).hexdigest()


def _collected(part: Part, name: str) -> tuple[Tensor, Tensor]:
    try:
        pairs = [part[index] for index in range(len(part))]
    except TypeError:
        raise DataError(
            f"{name} must be (images, labels), a Split or a data set of torch, but is a {type(part).__name__}"
        ) from None
    images = [image for image, _ in pairs]
    odd = next((type(image).__name__ for image in images if not isinstance(image, Tensor)), None)
    if odd is not None:
        raise DataError(
            f"{name} gives a {odd} for a picture, but must give a tensor; end its transform with ToTensor()"
        )
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise DataError(f"{name} gives pictures of {len(shapes)} sizes; let its transform make them one, as CenterCrop")
    return torch.stack(images) if images else torch.empty(0), torch.tensor([int(label) for _, label in pairs])
