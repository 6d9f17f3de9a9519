"""Where batches of photos come from: from the maps of frozen stages, or from the photos, varied anew in each pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainables.data import Data, Split
from trainables.gallery import MIRROR, Gallery
from trainables.photo_network import Photos
from trainables.supply import Batch, Fold, drawn, fold_rows
from trainables.views import Recipe, mixer, viewed


@dataclass(frozen=True)
class Mixing:
    """How strongly batches are mixed: the alphas of mixup and cutmix, 0 for none."""

    mixup: float = 0.0
    cutmix: float = 0.0

    def mixers(self, classes: int) -> list[Callable[[Tensor, Tensor], Batch]]:
        """What mixes a batch, in turns."""
        asked = (("mixup", self.mixup), ("cutmix", self.cutmix))
        return [mixer(kind, alpha, classes) for kind, alpha in asked if alpha]


class _Photographs:
    """What both kinds of supply have: rows of train and validation part, which are one set where there are folds."""

    mean: Sequence[float] = ()
    std: Sequence[float] = ()

    def __init__(self, data: Data, mixing: Mixing, ends: Gallery | None, rows: Fold | None) -> None:
        self._data, self._mixing, self._ends, self._rows = data, mixing, ends, rows
        self._pretend, self._device = False, torch.device("cpu")
        self.classes = len(data.classes)
        if rows is None:
            self.labels, self.val = data.train.labels, data.val
        else:
            labels = torch.cat([data.train.labels, data.val.labels])
            self.labels = labels[rows[0]]
            # As many images as there will be; which they are is known when the supply is opened.
            self.val = Split(data.val.images[:1].expand(len(rows[1]), -1, -1, -1), labels[rows[1]])

    def prime(self, model: nn.Module) -> None:
        """Scale the inputs of the head by what the whole backbone makes of the photos that are trained on."""
        if self._ends is None or self._pretend:
            return
        assert isinstance(model, Photos)
        if self._rows is None:
            pooled = self._ends.view(0, self._device)
        else:
            pooled = self._ends.both(0, self._device)[self._rows[0].to(self._device)]
        model.head.set_scale(pooled.flatten(1))

    def _mixed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        mixers = self._mixing.mixers(self.classes)
        for number, (inputs, labels) in enumerate(batches):
            yield mixers[number % len(mixers)](inputs, labels) if mixers else (inputs, labels)

    def _folds(self, count: int, seed: int) -> list[Fold]:
        return fold_rows(self._data.train.labels, len(self._data.val), count, seed, self._data.groups)


class Featured(_Photographs):
    """Maps of frozen stages, from a gallery: in each pass one view of each photo, drawn anew.

    With `mirrored` a photo is judged by its maps and those of its mirror image, `(N, 2, C, h, w)`.
    """

    def __init__(
        self, gallery: Gallery, mixing: Mixing, *, mirrored: bool, ends: Gallery | None, rows: Fold | None = None
    ) -> None:
        super().__init__(gallery.data, mixing, ends, rows)
        self._gallery, self._mirrored = gallery, mirrored

    def open(self, device: torch.device, *, pretend: bool = False) -> None:
        """Compute what is missing, and put all of it on `device`."""
        self._pretend, self._device = pretend, device
        numbers, judged = self._gallery.training_views(), [0, *([MIRROR] if self._mirrored else [])]
        labels = self.val.labels.to(device)
        if pretend:
            self._views = [self._gallery.noise(len(self.labels)).to(device) for _ in numbers]
            maps = [self._gallery.noise(len(labels)).to(device) for _ in judged]
            self._trained = torch.arange(len(self.labels), device=device)
        elif self._rows is None:
            self._views = [self._gallery.view(number, device).to(device) for number in numbers]
            maps = [self._gallery.view(number, device, part="val").to(device) for number in judged]
            self._trained = torch.arange(len(self.labels), device=device)
        else:  # the same tensors for all folds, who look at other rows of them
            self._views = [self._gallery.both(number, device) for number in numbers]
            maps = [self._gallery.both(number, device)[self._rows[1].to(device)] for number in judged]
            self._trained = self._rows[0].to(device)
        self.labels = self.labels.to(device)
        self.val = Split(torch.stack(maps, 1) if self._mirrored else maps[0], labels)

    def batches(self, size: int, generator: torch.Generator, *, balanced: bool) -> Iterator[Batch]:
        """One pass over all photos."""
        return self._mixed(self._drawn(size, generator, balanced=balanced))

    def _drawn(self, size: int, generator: torch.Generator, *, balanced: bool) -> Iterator[Batch]:
        order = drawn(self.labels, generator, balanced=balanced)
        views = torch.randint(len(self._views), (len(order),), generator=generator, device=order.device)
        for number in range(len(order) // size):
            drawn_now, chosen = (each[number * size : (number + 1) * size] for each in (order, views))
            rows = self._trained[drawn_now]
            inputs = self._views[0][rows]
            for view in range(1, len(self._views)):
                inputs = torch.where((chosen == view).view(-1, 1, 1, 1), self._views[view][rows], inputs)
            yield inputs, self.labels[drawn_now]

    def folds(self, count: int, seed: int) -> Sequence[Featured]:
        """See `Supply.folds`."""
        return [
            Featured(self._gallery, self._mixing, mirrored=self._mirrored, ends=self._ends, rows=rows)
            for rows in self._folds(count, seed)
        ]


class Augmented(_Photographs):
    """The photos themselves, on the device; in each pass a new view of each is made there."""

    def __init__(
        self, data: Data, recipe: Recipe, mixing: Mixing, *, ends: Gallery | None, rows: Fold | None = None
    ) -> None:
        super().__init__(data, mixing, ends, rows)
        self._recipe = recipe

    def open(self, device: torch.device, *, pretend: bool = False) -> None:
        """The whole set goes to `device`, where it stays."""
        self._pretend, self._device = pretend, device
        train, val = self._data.train.images, self._data.val.images
        if self._rows is not None:
            whole = torch.cat([train, val])
            train, val = whole[self._rows[0]], whole[self._rows[1]]
        self._photos, self.labels = train.to(device), self.labels.to(device)
        self.val = Split(val.to(device), self.val.labels.to(device))

    def batches(self, size: int, generator: torch.Generator, *, balanced: bool) -> Iterator[Batch]:
        """One pass over all photos."""
        return self._mixed(self._drawn(size, generator, balanced=balanced))

    def _drawn(self, size: int, generator: torch.Generator, *, balanced: bool) -> Iterator[Batch]:
        order, transform = drawn(self.labels, generator, balanced=balanced), self._recipe.transform()
        for number in range(len(order) // size):
            rows = order[number * size : (number + 1) * size]
            yield viewed(self._photos[rows], transform), self.labels[rows]

    def folds(self, count: int, seed: int) -> Sequence[Augmented]:
        """See `Supply.folds`."""
        return [
            Augmented(self._data, self._recipe, self._mixing, ends=self._ends, rows=rows)
            for rows in self._folds(count, seed)
        ]
