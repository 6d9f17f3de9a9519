"""Photos as they are trained on: cut, mirrored, recoloured at random, or two of them mixed, all by torchvision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

POLICIES = ("none", "trivial", "rand")
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
"""The jitter of colours at strength 1."""
MAGNITUDES = 30
"""RandAugment's magnitudes reach from 0 to here."""


@dataclass(frozen=True)
class Recipe:
    """How a random view of a photo is made, of `size` pixels a side.

    `crop` in (0, 1] is the smallest share of the area that is cut out (1 cuts nothing), `flip` mirrors one half of the
    views, `colour` in [0, 1] is how strongly colours are jittered. `policy` "trivial" (Müller & Hutter 2021) and "rand"
    (Cubuk et al. 2020, two operations) distort in further ways, the latter with a `strength` in [0, 1].
    """

    size: int
    crop: float = 0.5
    flip: bool = True
    colour: float = 0.0
    policy: str = "none"
    strength: float = 0.3

    def transform(self) -> Callable[[Tensor], Tensor]:
        """From uint8 `(3, H, W)` to uint8 `(3, size, size)`; draws from torch's default generator."""
        from torchvision.transforms import v2

        steps: list[Callable[[Tensor], Tensor]] = []
        if self.crop < 1:
            steps.append(v2.RandomResizedCrop(self.size, scale=(self.crop, 1.0), antialias=True))
        else:
            steps.append(v2.Resize((self.size, self.size), antialias=True))
        if self.flip:
            steps.append(v2.RandomHorizontalFlip())
        if self.policy == "trivial":
            steps.append(v2.TrivialAugmentWide())
        if self.policy == "rand":
            steps.append(v2.RandAugment(magnitude=round(self.strength * MAGNITUDES), num_magnitude_bins=MAGNITUDES + 1))
        if self.colour:
            steps.append(v2.ColorJitter(**{name: most * self.colour for name, most in JITTER.items()}))
        return v2.Compose(steps)


def coloured(photos: Tensor) -> Tensor:
    """`(N, 1, H, W)` or `(N, 3, H, W)` to three channels."""
    return photos.expand(-1, 3, -1, -1) if photos.shape[1] == 1 else photos


def viewed(photos: Tensor, transform: Callable[[Tensor], Tensor]) -> Tensor:
    """A random view of each of `photos` `(N, C, H, W)` uint8, drawn from torch's default generator."""
    return torch.stack([transform(photo) for photo in coloured(photos)])


def mixer(kind: str, alpha: float, classes: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """From a batch to one in which each input has a share of another, and labels `(N, classes)` say how much.

    `kind` is "mixup" (Zhang et al. 2018) or "cutmix" (Yun et al. 2019); `alpha` above 0 is that of the Beta
    distribution of the shares. Draws from torch's default generator.
    """
    from torchvision.transforms import v2

    made = v2.MixUp if kind == "mixup" else v2.CutMix
    mix = made(alpha=alpha, num_classes=classes, labels_getter=lambda sample: sample[1])

    def mixed(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        both: tuple[Tensor, Tensor] = mix(inputs.float(), labels)
        return both

    return mixed
