"""What a network for photos is made of: what prepares them, frozen and trained stages of a backbone, and a head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.views import coloured


class Prepared(nn.Module):
    """Grey levels `(N, 1 or 3, H, W)` to `(N, 3, size, size)`, scaled as the backbone is used to."""

    mean: Tensor
    scale: Tensor

    def __init__(self, size: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("scale", 1.0 / torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, photos: Tensor) -> Tensor:
        """Resized with antialias where they have another size."""
        images = coloured(photos).float()
        if images.shape[2:] != (self.size, self.size):
            images = F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        return (images - self.mean) * self.scale


class Head(nn.Module):
    """Maps `(N, C, h, w)`, pooled and scaled to mean 0 and deviation 1, to logits `(N, classes)`.

    `mean` and `scale` are those of the train part, set once before training; they travel with the weights.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int, classes: int, *, hidden_width: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))
        hidden = [nn.Linear(channels, hidden_width), nn.ReLU()] if hidden_width else []
        last = nn.Linear(hidden_width or channels, classes)
        if not hidden:
            # With fewer photos than channels, what is drawn in directions that no photo has would stay for good.
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*hidden, nn.Dropout(dropout), last)

    def set_scale(self, features: Tensor) -> None:
        """Take mean and deviation from `features` `(N, C)`; channels that hardly vary are not blown up."""
        deviation = features.std(0, correction=0)
        self.mean.copy_(features.mean(0))
        self.scale.copy_(1.0 / deviation.clamp_min(0.1 * deviation.mean() + 1e-6))

    def forward(self, maps: Tensor) -> Tensor:
        """The logits."""
        return self.layers((maps.mean((2, 3)) - self.mean) * self.scale)


class Photos(nn.Module):
    """A backbone's frozen stages (`body`), those that are trained (`tail`), and the head.

    In training, frozen stages may be left out (None); inputs are their maps then, `(N, C, h, w)`, or `(N, 2, C, h, w)`
    of a photo and its mirror image. With `mirrored` both are judged together: their logits are averaged. With `still`
    batch norm keeps the statistics that the backbone came with, which few images would only spoil.
    """

    def __init__(
        self, body: nn.Module | None, tail: Sequence[nn.Module], head: Head, *, mirrored: bool, still: bool
    ) -> None:
        super().__init__()
        self.body, self.tail, self.head = body, nn.Sequential(*tail), head
        self.mirrored, self.still = mirrored, still
        if body is not None:
            body.requires_grad_(False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits `(N, classes)` of photos, grey levels uint8 or float, or of maps."""
        maps = inputs
        if self.body is not None:
            with torch.no_grad():
                maps = self.body(inputs)
                if self.mirrored and not self.training:
                    maps = torch.stack([maps, self.body(inputs.flip(3))], 1)
        if maps.ndim == 5:
            logits: Tensor = self.head(self.tail(maps.flatten(0, 1)))
            return logits.unflatten(0, maps.shape[:2]).mean(1)
        return self.head(self.tail(maps))  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> Photos:
        """As of every module; but what is frozen is never in training."""
        super().train(mode)
        if self.body is not None:
            self.body.eval()
        if self.still:
            for module in self.tail.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self
