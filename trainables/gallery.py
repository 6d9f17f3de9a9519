"""What frozen stages of a backbone make of photos: computed once per node, shared by all trials."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn

from trainables import backbones, features
from trainables.data import Data
from trainables.device import seeded
from trainables.fused import Frozen
from trainables.loop import mix
from trainables.photo_network import Prepared
from trainables.views import Recipe, viewed

MIRROR = -1
"""The view that is the photo's mirror image; 0 is the photo as it is, those from 1 on are random ones."""


@dataclass(frozen=True)
class Stem:
    """The first `stages` of a `backbone` with `weights`, for photos resized to `size` pixels a side."""

    backbone: str
    weights: backbones.Weights
    stages: int
    size: int

    @property
    def whole(self) -> bool:
        """Whether these are all its stages; their maps are pooled then, since nothing but a head follows."""
        return self.stages == backbones.count(self.backbone)

    def to_the_end(self) -> Stem:
        """All stages of the same backbone."""
        return replace(self, stages=backbones.count(self.backbone))

    @property
    def shape(self) -> Sequence[int]:
        """`(channels, height, width)` of the maps of one photo; pooled ones have 1 by 1."""
        channels, *sides = _shape(self)
        return (channels, 1, 1) if self.whole else (channels, *sides)

    def maps(self, photos: Tensor, device: torch.device) -> Tensor:
        """What the stages make of `photos` `(N, C, H, W)` uint8: float32, on the CPU; exact, whatever the device."""
        body = _body(self, device)
        # cuDNN would round the inputs of convolutions to TF32.
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        made = []
        with torch.inference_mode(), exact if device.type == "cuda" else nullcontext():
            for batch in photos.split(features.PIECE):
                maps = body(batch.to(device))
                made.append((maps.mean((2, 3), keepdim=True) if self.whole else maps).float().cpu())
        return torch.cat(made).contiguous()


@cache
def _body(stem: Stem, device: torch.device) -> nn.Module:
    known = backbones.known(stem.backbone)
    stages = backbones.frozen(stem.backbone, stem.weights.path, stem.weights.sha256)[: stem.stages]
    return Frozen(Prepared(stem.size, known.mean, known.std), *deepcopy(list(stages))).to(device)


@cache
def _shape(stem: Stem) -> Sequence[int]:
    # The stages as they are, which all trials share: to fold them first takes far longer.
    stages = backbones.frozen(stem.backbone, stem.weights.path, stem.weights.sha256)[: stem.stages]
    with torch.inference_mode():
        return tuple(nn.Sequential(*stages)(torch.zeros(1, 3, stem.size, stem.size)).shape[1:])


class Gallery:
    """The photos of `data` as the maps that `stem` makes of them, in several views.

    Each view is kept in a file of its own (`features.once`), by a digest of all that its numbers depend on. Random
    views are made by `recipe`, the same in all trials: their draws come from their number.
    """

    def __init__(self, data: Data, stem: Stem, recipe: Recipe, views: int) -> None:
        self.data, self.stem, self._recipe, self._views = data, stem, recipe, views
        self._both: dict[int, Tensor] = {}

    def training_views(self) -> list[int]:
        """The numbers of the views that are trained on."""
        return [0, *([MIRROR] if self._recipe.flip else []), *range(1, self._views + 1)]

    def view(self, number: int, device: torch.device, *, part: str = "train") -> Tensor:
        """The maps of view `number` of the photos of a part: float32 `(N, C, h, w)`."""
        photos = self.data.train.images if part == "train" else self.data.val.images
        transform = self._recipe.transform() if number > 0 else None

        def compute(first: int, behind: int) -> Tensor:
            chosen = photos[first:behind]
            if number == MIRROR:
                chosen = chosen.flip(3)
            if transform is not None:
                with seeded(mix(number, first), torch.device("cpu")):
                    chosen = viewed(chosen, transform)
            return self.stem.maps(chosen, device)

        return features.once(self._key(photos, number, device), len(photos), self.stem.shape, compute)

    def both(self, number: int, device: torch.device) -> Tensor:
        """The same of train and validation part together, in this order; on `device`, where all folds share them."""
        if number not in self._both:
            parts = [self.view(number, device, part=part) for part in ("train", "val")]
            self._both[number] = torch.cat(parts).to(device)
        return self._both[number]

    def noise(self, rows: int) -> Tensor:
        """Numbers of the same shape, for who asks how long something takes."""
        return torch.rand(rows, *self.stem.shape, generator=torch.Generator().manual_seed(0))

    def _key(self, photos: Tensor, number: int, device: torch.device) -> str:
        stem = (self.stem.backbone, self.stem.weights.sha256, self.stem.stages, self.stem.size)
        recipe = repr(self._recipe) if number > 0 else ""
        whole = (features.digest(photos), *stem, number, recipe, torch.__version__, device.type)
        return hashlib.sha256(repr(whole).encode()).hexdigest()[:40]
