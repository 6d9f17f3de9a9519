"""Asynchronous successive halving."""

from __future__ import annotations

import math

from search.decide.schedulers.scheduler import Decision, Scheduler
from spaces.study import Study


class Asha(Scheduler):
    """Asynchronous successive halving, stopping variant (Li et al. 2020, MLSys, algorithm 2; rungs as in section 3.1).

    The study's `first_rung` is the paper's r, `reduction_factor` its eta, `epochs` its R; there is one bracket (s = 0),
    so nothing is drawn at random. Rungs lie at r·eta^k below R. A trial that reaches a rung goes on if it is among the
    best ceil(n / eta) of the n that have reached it, itself included; ties go on.

    Departures: the paper promotes from a rung when there is room, we decide when a trial arrives, as all stopping
    variants do; ceil lets the first trial at a rung pass and no more than one of the first eta; a value that is
    not finite stops the trial and does not count as a rival.
    """

    def __init__(self, study: Study) -> None:
        self._sign = 1.0 if study.objective.mode == "max" else -1.0
        self._factor = study.reduction_factor
        self.rungs = study.rungs
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
