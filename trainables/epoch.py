"""What a trainable yields, and how it ends early."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # a name and no more, for which who only looks at a search need not wait for torch
    from torch import nn

    from trainables.data import Data


Stateful = Any
"""What has `state_dict` and `load_state_dict`, or `get_state` and `set_state`; None; or a list or dict of such."""


@dataclass(frozen=True)
class Epoch:
    """The state of a trial after one epoch.

    `number` counts from 1. `metrics` are finite numbers that depend on the configuration alone, so two runs of one
    seed can be compared value by value; durations are measured by the caller. An epoch without the objective's metric
    is none at which trials are compared.

    With `model`, a module, its weights are written to the checkpoint, with the state of `optimizer`, `scheduler` and
    the default random generators (`trainables.state`); `restore` puts all of it back, and the winner can be tested and
    served. `save(folder)` writes a checkpoint of a make of one's own, or more files beside these. Either describes
    *this* epoch only until the generator is asked for the next. With neither nothing is kept.

    Numbers of numpy and tensors of one element are taken as metrics too, and become floats. Raises TypeError or
    ValueError, where it is made, for what is no epoch.
    """

    number: int
    metrics: Mapping[str, float]
    save: Callable[[Path], None] | None = None
    model: nn.Module | None = field(default=None, kw_only=True, repr=False)
    optimizer: Stateful = field(default=None, kw_only=True, repr=False)
    scheduler: Stateful = field(default=None, kw_only=True, repr=False)
    random: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if type(self.number) is not int or self.number < 1:
            raise ValueError(f"the number of an epoch must be a whole number from 1, but is {self.number!r}")
        if not isinstance(self.metrics, Mapping):
            raise TypeError(f"metrics must map names to numbers, but are a {type(self.metrics).__name__}")
        if self.save is not None and not callable(self.save):
            raise TypeError(f"save must be a function of a folder, but is a {type(self.save).__name__}")
        object.__setattr__(self, "metrics", {name: _number(name, value) for name, value in self.metrics.items()})
        if self.model is None:
            named = next((name for name in ("optimizer", "scheduler") if getattr(self, name) is not None), None)
            if named is not None:
                raise TypeError(f"an Epoch with {named}= needs model= too: its checkpoint is that of a model")
            return
        if not callable(getattr(self.model, "state_dict", None)):
            raise TypeError(f"model must be a torch module, but is a {type(self.model).__name__}")
        for name in ("optimizer", "scheduler"):
            _check_stateful(name, getattr(self, name))
        from trainables import randomness

        # Here, where the generator is, and not where it is saved: in between others may draw.
        object.__setattr__(self, "random", randomness.states())

    @property
    def writer(self) -> Callable[[Path], None] | None:
        """What fills the folder of a checkpoint; None if nothing is to be kept."""
        return self.save if self.model is None else self._write

    def _write(self, folder: Path) -> None:
        from trainables import state

        parts = {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}
        state.save(folder, self.number, self.random, **parts)
        if self.save is not None:
            self.save(folder)


def restore(resume: Path | None, *, model: nn.Module, optimizer: Stateful = None, scheduler: Stateful = None) -> int:
    """Put back what an `Epoch` with these parts saved in the folder `resume`, and return the number of the epoch due.

    Without a folder nothing is done, and that is 1. Weights, optimizer, schedule and the default random generators of
    Python, NumPy and torch stand as they did when that epoch was yielded; on one thread what follows is the same bit
    for bit, if it follows from these, from the configuration and from the epoch's number. Raises ValueError for a
    checkpoint of other parts.
    """
    if resume is None:
        return 1
    from trainables import state

    return 1 + state.restore(resume, model=model, optimizer=optimizer, scheduler=scheduler)


def _check_stateful(name: str, part: Stateful) -> None:
    pairs = (("state_dict", "load_state_dict"), ("get_state", "set_state"))
    if part is None or any(hasattr(part, get) and hasattr(part, put) for get, put in pairs):
        return
    if not isinstance(part, (list, tuple, Mapping)):
        raise TypeError(f"{name} must have a state_dict, or be a list of such, but is a {type(part).__name__}")
    for each in part.values() if isinstance(part, Mapping) else part:
        _check_stateful(name, each)


LONGEST_METRIC = 200
"""Characters of a metric's name: MLflow takes 250, with what is written before it."""


def _number(name: Any, value: Any) -> float:
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > LONGEST_METRIC:
        raise ValueError(f"a metric is named with 1 to {LONGEST_METRIC} signs that can be printed, but one is {name!r}")
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


def takes_resume(trainable: Callable[..., Any]) -> bool:
    """Whether a trainable can be told from where to go on."""
    try:
        parameters = inspect.signature(trainable).parameters
    except ValueError:  # written in C; its call will tell
        return True
    return "resume" in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


class Infeasible(Exception):
    """This setting cannot be used: too large, too slow. Raise it with the reason; the trial then ends as infeasible.

    That is no failure. The sampler keeps away from such settings, and none can win.
    """


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
