"""Building blocks that MLP and CNN share: activations, the fully connected part, heads, fresh weights."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(0.01),
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "logistic": nn.Sigmoid,
    "softplus": nn.Softplus,
    "hard_tanh": nn.Hardtanh,
    "hard_sigmoid": nn.Hardsigmoid,
}
"""Activations by name. `swish` and `logistic` are what some papers call silu and sigmoid."""

INITS: dict[str, Callable[[Tensor, str], object]] = {
    "default": lambda weight, gain: None,
    "kaiming_normal": lambda weight, gain: nn.init.kaiming_normal_(weight, nonlinearity=gain),  # type: ignore[arg-type]
    "kaiming_uniform": lambda weight, gain: nn.init.kaiming_uniform_(weight, nonlinearity=gain),  # type: ignore[arg-type]
    "xavier_normal": lambda weight, gain: nn.init.xavier_normal_(weight),
    "xavier_uniform": lambda weight, gain: nn.init.xavier_uniform_(weight),
}
"""How the weights of linear and convolutional layers are drawn, by name; `default` leaves what torch drew.

He et al. 2015 (section 2.2, by fan-in) and Glorot & Bengio 2010 (section 4.2.1).
"""

LINEAR_AT_ZERO = ("identity", "tanh", "hard_tanh", "sigmoid", "logistic", "hard_sigmoid")
"""Activations that halve no variance, so that Kaiming's factor of two would be wrong."""

HEADS = ("softmax", "logistic")


def activation(name: str) -> nn.Module:
    """A new activation layer; raises ValueError with the known names otherwise."""
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def hidden_layers(
    features: int, *, depth: int, width: int, activation_name: str, batch_norm: bool, dropout: float
) -> list[nn.Module]:
    """`depth` fully connected layers of `width` units: linear, batch norm, activation, dropout."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers.append(nn.Linear(features, width, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm1d(width))
        layers.append(activation(activation_name))
        if dropout:
            layers.append(nn.Dropout(dropout))
        features = width
    return layers


class LogisticHead(nn.Module):
    """One logit for two classes: `(N, features)` to the logits `(N, 2)` of softmax, whose first is 0.

    Softmax of (0, z) is (1 - sigmoid(z), sigmoid(z)), so its cross-entropy is the binary one, and all that works on
    many classes works on two.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)

    def forward(self, features: Tensor) -> Tensor:
        """The logits."""
        return F.pad(self.linear(features), (1, 0))


def head(name: str, features: int, classes: int) -> nn.Module:
    """The last layer: `softmax` has a logit per class, `logistic` a single one and needs two classes.

    Raises ValueError for another name or number of classes.
    """
    if name not in HEADS:
        raise ValueError(f"unknown model/head {name!r}; known are {', '.join(HEADS)}")
    if name == "softmax":
        return nn.Linear(features, classes)
    if classes != 2:
        raise ValueError(f"model/head=logistic is for two classes, but the data has {classes}; use softmax")
    return LogisticHead(features)


def initialise(network: nn.Module, init: str, activation_name: str) -> nn.Module:
    """Draw the weights of all linear and convolutional layers anew as `init` (of INITS) says; biases become 0.

    Kaiming's gain is that of ReLU, except for LINEAR_AT_ZERO, where it is 1.
    Raises ValueError for an unknown name.
    """
    if init not in INITS:
        raise ValueError(f"unknown model/init {init!r}; known are {', '.join(INITS)}")
    gain = "linear" if activation_name in LINEAR_AT_ZERO else "relu"
    for layer in network.modules():
        if init != "default" and isinstance(layer, (nn.Linear, nn.Conv2d)):
            INITS[init](layer.weight, gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def at_least(name: str, value: float, low: float, high: float = float("inf"), *, whole: bool = False) -> None:
    """Raise ValueError unless `value` is a number with `low <= value <= high`; a whole one where `whole`."""
    kinds = int if whole else (int, float)
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise ValueError(f"{name} must be a {'whole ' if whole else ''}number, but got {value!r}")
    if not low <= value <= high:
        allowed = f"at least {low}" if high == float("inf") else f"between {low} and {high}"
        raise ValueError(f"{name} must be {allowed}, but got {value}")
