"""What a sampler is: it proposes what to try next, and hears what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from search.record.state import State
from spaces import values
from spaces.values import Config, Value


class Sampler(Protocol):
    """Proposes points, and is told what became of every one.

    `propose` depends on what it was told, the seed and the number of the trial, and on nothing else, so the same record
    gives the same proposals. Trials that are no evidence (published settings, confirmations) it never hears of.
    """

    def propose(self, number: int) -> Config | None:
        """The point that trial `number` should try, or None if there is nothing left to try."""

    def started(self, number: int, point: Mapping[str, Value]) -> None:
        """Trial `number` tries `point`, whoever proposed it."""

    def heard(self, number: int, values: Sequence[float], seconds: float = 0.0) -> None:
        """Trial `number`, which goes on, has been worth `values` so far: the best up to each of its epochs.

        The last of them took `seconds`.
        """

    def ended(self, number: int, state: State, values: Sequence[float]) -> None:
        """Trial `number` ended in `state`; `values` are what it was worth up to each of its epochs."""


def identity(point: Mapping[str, Value]) -> object:
    """`point` as something that is equal for the same point only, and tells 1, True and 1.0 apart."""
    return frozenset((name, values.identity(value)) for name, value in point.items())
