"""Images and labels of one data set, whole and in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from trainables import splits


@dataclass(frozen=True)
class Mapped:
    """Where images lie in a file, as they are: uint8 from byte `offset` on. Other processes can map them from there."""

    path: str
    offset: int


@dataclass(frozen=True)
class Split:
    """One part of a data set: images `(N, C, H, W)`, labels `(N,)` int64 in `0..classes-1`.

    Images are uint8; points in a plane or space are float32 `(N, features, 1, 1)`. `file` says where they are mapped
    from, None if they lie in memory.
    """

    images: Tensor
    labels: Tensor
    file: Mapped | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Split:
        """The same images on `device`; no copy where they are there already."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class Data:
    """What a trainable may see: the train and validation parts.

    The test part of data of one's own, images and labels, is what `test` gives when it is called, once, for the winner;
    no worker has it.

    `mean` and `std` have one value per channel, in the units of the images (grey levels from 0 to 255, or those of the
    points), computed on the train part alone. `groups` `(N,)` int64 says which of the N training images must stay
    together when they are parted again; None if none must.
    """

    train: Split
    val: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    test: Callable[[], tuple[Tensor, Tensor]] | None = field(default=None, repr=False, compare=False)
    groups: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def to(self, device: torch.device) -> Data:
        """The same data on `device`."""
        return replace(self, train=self.train.to(device), val=self.val.to(device))


def nothing() -> Data:
    """No data at all, for a trainable that reads its own."""
    empty = Split(torch.empty(0, 0, 0, 0, dtype=torch.uint8), torch.empty(0, dtype=torch.int64))
    return Data(empty, empty, (), (), ())


def part(
    images: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    *,
    val_fraction: float,
    seed: int,
    kind: str = "shuffled",
    groups: Tensor | None = None,
) -> Data:
    """Part `images` into train and validation, the same images for the same `seed` on every machine.

    `kind` is one of `splits.KINDS`, which has the rules; `groups` `(N,)` go with "by groups". The validation part holds
    `round(val_fraction * N)` images, at least one and never all; `val_fraction` lies in (0, 1). Mean and deviation come
    from the train part only.
    """
    held_out = splits.held_out(
        labels.tolist(), None if groups is None else groups.tolist(), kind=kind, val_fraction=val_fraction, seed=seed
    )
    mask = torch.zeros(len(labels), dtype=torch.bool)
    mask[held_out] = True
    data = parted((images[~mask], labels[~mask]), (images[mask], labels[mask]), classes)
    return data if groups is None else replace(data, groups=groups[~mask])


def parted(train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor], classes: Sequence[str]) -> Data:
    """Data whose train and validation part, images and labels each, are given. Raises ValueError if one is empty."""
    if not len(train[1]) or not len(val[1]):
        raise ValueError(f"train and validation part need images, but have {len(train[1])} and {len(val[1])}")
    return of_splits(Split(*train), Split(*val), classes)


def of_splits(train: Split, val: Split, classes: Sequence[str]) -> Data:
    """Data of these parts, with the statistics of the train part."""
    mean, std = statistics(train.images)
    return Data(train, val, tuple(classes), mean, std)


def statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of `images` `(N, C, H, W)`, in their units; exact for uint8.

    A channel without any variation gets the deviation 1, so that it normalises to zero instead of NaN.
    """
    if images.is_floating_point():
        values = images.double().transpose(0, 1).flatten(1)
        return tuple(values.mean(1).tolist()), tuple(std or 1.0 for std in values.std(1, correction=0).tolist())
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for some in images.split(4096):
        for channel in range(images.shape[1]):
            counts[channel] += torch.bincount(some[:, channel].flatten(), minlength=256)
    return deviations(counts)


def deviations(counts: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The same of channels in which each of 256 grey levels occurs so often: `counts` `(C, 256)`."""
    means, stds = [], []
    levels = torch.arange(256, dtype=torch.float64)
    for of_channel in counts:
        counts = of_channel.double()
        mean = (counts * levels).sum() / counts.sum()
        variance = (counts * (levels - mean) ** 2).sum() / counts.sum()
        means.append(mean.item())
        stds.append(variance.sqrt().item() or 1.0)
    return tuple(means), tuple(stds)
