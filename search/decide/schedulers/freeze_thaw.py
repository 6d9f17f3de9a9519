"""Trials are put aside at every rung, and the most promising one goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from search.decide.prospects import Prospects, pause_rungs
from search.decide.schedulers.scheduler import Decision, Scheduler
from spaces.study import Study

WORTH_IT = 0.01
"""Once no new trial may begin, a paused one goes on for an expected gain of this share of the spread of all values."""


class FreezeThaw(Scheduler):
    """Pauses each trial at each rung; a free worker takes what promises most per second, a paused trial or a new one.

    After Swersky, Snoek and Adams 2014 (arXiv 1406.3896). Nothing is ever stopped, so no slow starter is lost for good;
    what the sampler makes of all curves decides, not a comparison at one rung. Only a value that is not finite ends a
    trial.
    """

    pauses = True

    def __init__(self, study: Study) -> None:
        self.rungs = pause_rungs(study)

    def decide(self, trial: int, epoch: int, value: float) -> Decision:
        """Pause at a rung; whether it goes on at once is asked then."""
        rung = epoch if epoch in self.rungs else None
        if not math.isfinite(value):
            return Decision(go_on=False, rung=rung)
        return Decision(go_on=rung is None, rung=rung, pause=rung is not None)

    def to_continue(
        self, paused: Sequence[int], prospects: Callable[[], Prospects], *, may_begin: bool, must: bool = False
    ) -> int | None:
        """The paused trial with the best prospects, if they are better than those of a new one."""
        told = prospects()
        if not told.of:
            return None
        best = max(told.of, key=told.of.__getitem__)
        if may_begin:
            return best if told.of[best] > told.new else None
        return best if must or told.gain[best] > WORTH_IT else None
