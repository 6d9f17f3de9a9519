"""Convolutional network: stages of convolution, pooling and batch norm, with optional residual blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from trainables.classifier import Architecture
from trainables.data import Data
from trainables.epoch import Epoch, check_sections, section
from trainables.layers import activation as activation_layer
from trainables.layers import at_least, hidden_layers, initialise
from trainables.layers import head as head_layer
from trainables.training import train

SMALLEST_SIDE = 3
"""Pooling stops where it would leave fewer pixels than this on a side: 28 becomes 14, 7, 3 and stays."""


class Residual(nn.Module):
    """`x + block(x)` (He et al. 2016, section 3.1, identity shortcut)."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, images: Tensor) -> Tensor:
        """Shape in, shape out: `(N, C, H, W)`."""
        return images + self.block(images)


def network(
    shape: tuple[int, int, int],
    classes: int,
    *,
    depth: int = 3,
    width: int = 32,
    growth: float = 2.0,
    channels: int | str = "",
    kernel: int | str = 3,
    activation: str = "relu",
    batch_norm: bool = True,
    dropout: float = 0.0,
    residual: bool = False,
    hidden_depth: int = 0,
    hidden_width: int = 256,
    init: str = "default",
    head: str = "softmax",
) -> nn.Module:
    """`(N, C, H, W)` normalised images to `(N, classes)` logits.

    `depth` (>= 1) stages of convolution, max pool, batch norm and activation. The first has `width` channels, each
    further one `growth` times as many, as long as pooling halves the image; after that (see SMALLEST_SIDE) stages keep
    size and channels. `channels`, such as "32-16-16", gives those of each stage instead, and there depth, width and
    growth say nothing. `kernel` is odd, or "1x3" for height 1 and width 3. With `residual`, each stage ends in one more
    convolution with a shortcut around it. Then `hidden_depth` fully connected layers of `hidden_width` units; `dropout`
    in [0, 1) before each linear layer. `init` is one of `layers.INITS`, `head` one of `layers.HEADS`.

    Pooling comes before batch norm and activation: for the monotone activations that are usual, and a positive scale,
    the result is the same, and they then run on a quarter of the pixels (1.25 times the images/s on one CPU thread).
    """
    at_least("model/depth", depth, 1, whole=True)
    at_least("model/width", width, 1, whole=True)
    at_least("model/growth", growth, 0.1, 8)
    at_least("model/hidden_depth", hidden_depth, 0, whole=True)
    at_least("model/hidden_width", hidden_width, 1, whole=True)
    at_least("model/dropout", dropout, 0, 0.95)
    given, sides = _channels(channels), _kernel(kernel)
    padding = (sides[0] // 2, sides[1] // 2)

    def convolution(inputs: int, outputs: int, *, pool: bool) -> list[nn.Module]:
        layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, sides, padding=padding, bias=not batch_norm)]
        if pool:
            layers.append(nn.MaxPool2d(2))
        if batch_norm:
            layers.append(nn.BatchNorm2d(outputs))
        return [*layers, activation_layer(activation)]

    inputs, side = shape[0], min(shape[1:])
    height, breadth = shape[1:]
    layers: list[nn.Module] = []
    for stage in range(len(given) or depth):
        pool = side // 2 >= SMALLEST_SIDE
        if given:
            outputs = given[stage]
        elif stage == 0:
            outputs = width
        else:
            outputs = max(1, round(inputs * growth)) if pool else inputs
        layers += convolution(inputs, outputs, pool=pool)
        inputs = outputs
        if pool:
            side, height, breadth = side // 2, height // 2, breadth // 2
        if residual:
            layers.append(Residual(nn.Sequential(*convolution(inputs, inputs, pool=False))))
    features = inputs * height * breadth
    layers.append(nn.Flatten())
    if dropout:
        layers.append(nn.Dropout(dropout))
    layers += hidden_layers(
        features,
        depth=hidden_depth,
        width=hidden_width,
        activation_name=activation,
        batch_norm=batch_norm,
        dropout=dropout,
    )
    layers.append(head_layer(head, hidden_width if hidden_depth else features, classes))
    return initialise(nn.Sequential(*layers), init, activation)


def _channels(given: int | str) -> list[int]:
    text = str(given)  # one stage alone looks like a number, and --set reads it as one
    if not re.fullmatch(r"([1-9]\d*(-[1-9]\d*)*)?", text):
        raise ValueError(f"model/channels must be numbers of channels such as 32-16-16, but got {given!r}")
    return [int(part) for part in text.split("-")] if text else []


def _kernel(kernel: int | str) -> tuple[int, int]:
    parts = re.fullmatch(r"(\d+)x(\d+)", kernel) if isinstance(kernel, str) else None
    sides = (int(parts[1]), int(parts[2])) if parts else (kernel, kernel)
    if not all(type(side) is int and side > 0 and side % 2 for side in sides):
        raise ValueError(f"model/kernel must be an odd number from 1, or two such as 1x3, but got {kernel!r}")
    return sides  # type: ignore[return-value]


def train_cnn(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
    """Train a convolutional network; `model/*` are the arguments of `network`, `train/*` those of `train` and `fit`."""
    check_sections(config)
    architecture = Architecture("cnn", data.shape, data.classes, section(config, "model"))
    return train(architecture, data, resume=resume, **section(config, "train"))
