"""What a trainable yields, and how it ends early."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # a name and no more, for which who only looks at a search need not wait for torch
    from trainables.data import Data


@dataclass(frozen=True)
class Epoch:
    """The state of a trial after one epoch.

    `number` counts from 1. `metrics` are finite numbers that depend on the configuration alone, so two runs of one
    seed can be compared value by value; durations are measured by the caller. `save(folder)` writes a checkpoint from
    which the same trainable goes on; it describes *this* epoch only until the generator is asked for the next.

    Numbers of numpy and tensors of one element are taken as metrics too, and become floats. Raises TypeError or
    ValueError, where it is made, for what is no epoch.
    """

    number: int
    metrics: Mapping[str, float]
    save: Callable[[Path], None]

    def __post_init__(self) -> None:
        if type(self.number) is not int or self.number < 1:
            raise ValueError(f"the number of an epoch must be a whole number from 1, but is {self.number!r}")
        if not isinstance(self.metrics, Mapping):
            raise TypeError(f"metrics must map names to numbers, but are a {type(self.metrics).__name__}")
        if not callable(self.save):
            raise TypeError(f"save must be a function of a folder, but is a {type(self.save).__name__}")
        object.__setattr__(self, "metrics", {name: _number(name, value) for name, value in self.metrics.items()})


METRIC = r"[\w \-./]{1,250}"
"""Names that MLflow takes for metrics."""


def _number(name: Any, value: Any) -> float:
    if not isinstance(name, str) or not re.fullmatch(METRIC, name):
        raise ValueError(f"a metric's name may have letters, digits, spaces and _ - . / only, but one is {name!r}")
    # numpy and torch raise various errors where there are many numbers, or one that is too large.
    with contextlib.suppress(TypeError, ValueError, RuntimeError, OverflowError):
        plain = value.item() if hasattr(value, "item") else value
        if isinstance(plain, (int, float)):
            return float(plain)
    # Without its value: five trials that fail alike end the search, and values differ.
    shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
    raise TypeError(f"the metric {name} must be one number, but is a {type(value).__name__}{shape}")


class Trainable(Protocol):
    """The signature of every trainable: `config` is flat, with names such as `train/lr` as keys."""

    def __call__(self, config: Mapping[str, Any], data: Data, *, resume: Path | None = None) -> Iterator[Epoch]:
        """Yield an `Epoch` per epoch; with `resume`, from the one after the checkpoint in that folder."""


@dataclass
class Diverged(Exception):
    """The loss is no longer a finite number; nothing that follows can be used."""

    epoch: int
    step: int
    loss: float
    args: tuple[Any, ...] = field(init=False, default=())

    def __str__(self) -> str:
        return f"the loss became {self.loss} at step {self.step} of epoch {self.epoch}"


def section(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The keyword arguments of one section: `{"train/lr": 0.1}` gives `{"lr": 0.1}` for `train`."""
    prefix = f"{name}/"
    return {key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)}


def check_sections(config: Mapping[str, Any], sections: tuple[str, ...] = ("model", "train")) -> None:
    """Raise ValueError for a hyperparameter of another section, which nothing would ever read."""
    for name in config:
        if name.partition("/")[0] not in sections:
            raise ValueError(f"unknown hyperparameter {name}; sections are {', '.join(sections)}")
