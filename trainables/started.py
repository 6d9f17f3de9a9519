"""A trainable, started: what is called by all who train, be it one of ours or a user's own generator."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from trainables import randomness
from trainables.data import Data
from trainables.epoch import Epoch, Trainable, takes_resume
from trainables.read_only import read_only


def started(
    trainable: Trainable, config: Mapping[str, Any], data: Data, *, resume: Path | None = None
) -> Iterator[Epoch]:
    """The epochs of `trainable`, none of which is trained before it is asked for.

    A user's generator gets data that it cannot change, `resume` if it takes that, and default random generators that
    start from `train/seed`, whatever this process draws besides. A training of our
    loop that it returns draws from generators of its own; it is returned as it is, and so is what are no epochs.
    """
    if trains_by_our_loop(trainable):
        return trainable(config, data, resume=resume)
    going_on = {"resume": resume} if takes_resume(trainable) else {}
    drawn = _Drawn(int(config.get("train/seed", 0)))
    epochs = drawn.inside(lambda: trainable(config, read_only(data), **going_on))
    if isinstance(epochs, Iterator) and not hasattr(epochs, "resolved"):
        return _Apart(epochs, drawn)
    return epochs


def trains_by_our_loop(trainable: object) -> bool:
    """Whether a trainable is one of this package's, which draws and reads as it should."""
    kind = trainable if inspect.isfunction(trainable) else type(trainable)
    return (getattr(kind, "__module__", "") or "").partition(".")[0] == __package__


class _Drawn:
    """The default random generators as one trial has them, beside those of its process."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._stood: randomness.States | None = None

    def inside(self, work: Callable[[], Any]) -> Any:
        """`work()`, with the trial's generators; those of the process are as before afterwards."""
        outside = randomness.states()
        if self._stood is None:
            randomness.seed(self._seed)
        else:
            randomness.put_back(self._stood)
        try:
            return work()
        finally:
            self._stood = randomness.states()
            randomness.put_back(outside)


class _Apart(Iterator[Epoch]):
    """The epochs of a user's generator, drawn from random generators of its own."""

    def __init__(self, epochs: Iterator[Epoch], drawn: _Drawn) -> None:
        self._epochs, self._drawn = epochs, drawn

    def __next__(self) -> Epoch:
        epoch: Epoch = self._drawn.inside(lambda: next(self._epochs))
        return epoch

    def close(self) -> None:
        """End the generator where it stands."""
        close = getattr(self._epochs, "close", None)
        if close is not None:
            close()
