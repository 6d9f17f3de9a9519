"""What a trainable yields, and how it ends early."""

from __future__ import annotations

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
    """

    number: int
    metrics: Mapping[str, float]
    save: Callable[[Path], None]


class Trainable(Protocol):
    """The signature of every trainable: `config` is flat, with keys `section/name`, such as `train/lr`."""

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
