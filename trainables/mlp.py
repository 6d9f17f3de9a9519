"""Multi-layer perceptron: any depth from 0, which is softmax regression."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from torch import nn

from trainables.classifier import Architecture
from trainables.data import Data
from trainables.epoch import Epoch, check_sections, section
from trainables.layers import at_least, hidden_layers, initialise
from trainables.layers import head as head_layer
from trainables.training import train


def network(
    shape: tuple[int, int, int],
    classes: int,
    *,
    depth: int = 2,
    width: int = 256,
    activation: str = "relu",
    batch_norm: bool = False,
    dropout: float = 0.0,
    init: str = "default",
    head: str = "softmax",
) -> nn.Module:
    """`(N, C, H, W)` normalised images to `(N, classes)` logits.

    `depth` (>= 0) hidden layers of `width` (>= 1) units; `dropout` in [0, 1) after each. Depth 0 is softmax regression.
    `init` is one of `layers.INITS`, `head` one of `layers.HEADS`.
    """
    at_least("model/depth", depth, 0, whole=True)
    at_least("model/width", width, 1, whole=True)
    at_least("model/dropout", dropout, 0, 0.95)
    features = prod(shape)
    hidden = hidden_layers(
        features, depth=depth, width=width, activation_name=activation, batch_norm=batch_norm, dropout=dropout
    )
    last = head_layer(head, width if depth else features, classes)
    return initialise(nn.Sequential(nn.Flatten(), *hidden, last), init, activation)


def train_mlp(config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
    """Train a perceptron; `model/*` are the arguments of `network`, `train/*` those of `train` and `fit`."""
    check_sections(config)
    architecture = Architecture("mlp", data.shape, data.classes, section(config, "model"))
    return train(architecture, data, resume=resume, **section(config, "train"))
