"""Which trials go on and which stop: pure decisions over recorded values, without Ray."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from spaces.study import Objective, Study, rungs


@dataclass(frozen=True)
class Decision:
    """What to do with a trial after an epoch. `rung` and `cutoff` are None where no rung was reached.

    `cutoff` is the value that had to be reached to go on; None at a rung without rivals.
    """

    go_on: bool
    rung: int | None = None
    cutoff: float | None = None


class Scheduler(Protocol):
    """Decides from the values told so far and nothing else, so the same record gives the same decisions."""

    rungs: tuple[int, ...]
    """Epochs at which trials are compared."""

    def decide(self, trial: int, epoch: int, value: float) -> Decision:
        """Take in that `trial` is worth `value` after `epoch` epochs (from 1), and say whether it goes on."""


class NoStopping:
    """Every trial gets its full budget; only a value that is not finite ends one."""

    rungs: tuple[int, ...] = ()

    def decide(self, trial: int, epoch: int, value: float) -> Decision:
        """Go on, unless `value` is not finite."""
        return Decision(go_on=math.isfinite(value))


class Asha:
    """Asynchronous successive halving, stopping variant (Li et al. 2020, MLSys, algorithm 2; rungs as in section 3.1).

    `first_rung` is the paper's r, `reduction_factor` its eta, `epochs` its R; there is one bracket (s = 0), so nothing
    is drawn at random. Rungs lie at r·eta^k below R. A trial that reaches a rung goes on if it is among the best
    ceil(n / eta) of the n that have reached it, itself included; ties go on.

    Departures: the paper promotes from a rung when there is room, we decide when a trial arrives, as all stopping
    variants do; ceil lets the first trial at a rung pass and no more than one of the first eta; a value that is
    not finite stops the trial and does not count as a rival.
    """

    def __init__(self, objective: Objective, *, epochs: int, first_rung: int, reduction_factor: int) -> None:
        self._sign = 1.0 if objective.mode == "max" else -1.0
        self._factor = reduction_factor
        self.rungs = rungs(epochs, first_rung, reduction_factor)
        self._values: dict[int, list[float]] = {rung: [] for rung in self.rungs}

    def decide(self, trial: int, epoch: int, value: float) -> Decision:
        """See `Scheduler.decide`."""
        if not math.isfinite(value):
            return Decision(go_on=False, rung=epoch if epoch in self._values else None)
        if epoch not in self._values:
            return Decision(go_on=True)
        rivals = self._values[epoch]
        rivals.append(self._sign * value)
        rivals.sort(reverse=True)
        if len(rivals) == 1:
            return Decision(go_on=True, rung=epoch)
        cutoff = rivals[math.ceil(len(rivals) / self._factor) - 1]
        return Decision(go_on=self._sign * value >= cutoff, rung=epoch, cutoff=self._sign * cutoff)


def _asha(study: Study) -> Scheduler:
    return Asha(
        study.objective, epochs=study.epochs, first_rung=study.first_rung, reduction_factor=study.reduction_factor
    )


SCHEDULERS: dict[str, Callable[[Study], Any]] = {"asha": _asha, "none": lambda study: NoStopping()}
"""Every scheduler by its name on the command line."""
