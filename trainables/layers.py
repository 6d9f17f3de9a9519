"""Building blocks that MLP and CNN share: activations and the fully connected part."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(0.01),
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "hard_tanh": nn.Hardtanh,
}


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


def at_least(name: str, value: float, low: float, high: float = float("inf"), *, whole: bool = False) -> None:
    """Raise ValueError unless `value` is a number with `low <= value <= high`; a whole one where `whole`."""
    kinds = int if whole else (int, float)
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise ValueError(f"{name} must be a {'whole ' if whole else ''}number, but got {value!r}")
    if not low <= value <= high:
        allowed = f"at least {low}" if high == float("inf") else f"between {low} and {high}"
        raise ValueError(f"{name} must be {allowed}, but got {value}")
