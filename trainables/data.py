"""Images and labels of one data set, whole and in memory."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Split:
    """One part of a data set: images `(N, C, H, W)`, labels `(N,)` int64 in `0..classes-1`.

    Images are uint8; points in a plane or space are float32 `(N, features, 1, 1)`.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Split:
        """The same images on `device`; no copy where they are there already."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Data:
    """What a trainable may see: the train and validation parts, never the test part.

    `mean` and `std` have one value per channel, in the units of the images (grey levels from 0 to 255, or those of the
    points), computed on the train part alone.
    """

    train: Split
    val: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def to(self, device: torch.device) -> Data:
        """The same data on `device`."""
        return Data(self.train.to(device), self.val.to(device), self.classes, self.mean, self.std)


def part(images: Tensor, labels: Tensor, classes: Sequence[str], *, val_fraction: float, seed: int) -> Data:
    """Part `images` into train and validation, the same images for the same `seed` on every machine.

    The validation part holds `round(val_fraction * N)` images, at least one and never all; `val_fraction` lies in
    (0, 1). Mean and deviation come from the train part only.
    """
    if not 0.0 < val_fraction < 1.0:
        raise ValueError(f"val_fraction must lie between 0 and 1, but got {val_fraction}")
    if len(images) < 2:
        raise ValueError(f"at least 2 images are needed to split off a validation part, but got {len(images)}")
    # Python's own generator promises the same shuffle on every version and platform; torch's does not.
    order = list(range(len(images)))
    random.Random(seed).shuffle(order)
    held_out = min(max(1, round(val_fraction * len(order))), len(order) - 1)
    val, train = torch.tensor(sorted(order[:held_out])), torch.tensor(sorted(order[held_out:]))
    mean, std = statistics(images[train])
    return Data(Split(images[train], labels[train]), Split(images[val], labels[val]), tuple(classes), mean, std)


def statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of `images` `(N, C, H, W)`, in their units; exact for uint8.

    A channel without any variation gets the deviation 1, so that it normalises to zero instead of NaN.
    """
    if images.is_floating_point():
        values = images.double().transpose(0, 1).flatten(1)
        return tuple(values.mean(1).tolist()), tuple(std or 1.0 for std in values.std(1, correction=0).tolist())
    means, stds = [], []
    levels = torch.arange(256, dtype=torch.float64)
    for channel in range(images.shape[1]):
        counts = torch.bincount(images[:, channel].flatten(), minlength=256).double()
        mean = (counts * levels).sum() / counts.sum()
        variance = (counts * (levels - mean) ** 2).sum() / counts.sum()
        means.append(mean.item())
        stds.append(variance.sqrt().item() or 1.0)
    return tuple(means), tuple(stds)
