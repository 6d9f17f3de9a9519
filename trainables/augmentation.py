"""Random flips and shifts, drawn for a whole epoch at once so that the training step stays free of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each of `images` `(N, C, H, W)` mirrored left to right with probability one half."""
    mirror = torch.rand(len(images), generator=generator, device=generator.device) < 0.5
    chosen = mirror.nonzero().squeeze(1)
    result = images.clone()
    result[chosen] = images[chosen].flip(3)
    return result


def shifted(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Each of `images` `(N, C, H, W)` moved by up to `pixels` both ways, evenly; what comes in is 0."""
    height, width = images.shape[2:]
    padded = F.pad(images, (pixels, pixels, pixels, pixels))
    span = 2 * pixels + 1
    offsets = torch.randint(span * span, (len(images),), generator=generator, device=generator.device)
    result = torch.empty_like(images)
    # One slice per offset: 9 or 25 large copies are far cheaper than 55,000 small ones.
    for offset in range(span * span):
        down, right = divmod(offset, span)
        chosen = (offsets == offset).nonzero().squeeze(1)
        result[chosen] = padded[chosen, :, down : down + height, right : right + width]
    return result
