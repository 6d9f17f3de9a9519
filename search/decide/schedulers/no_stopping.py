"""No early stopping."""

from __future__ import annotations

import math

from search.decide.schedulers.scheduler import Decision, Scheduler
from spaces.study import Study


class NoStopping(Scheduler):
    """Every trial gets its full budget; only a value that is not finite ends one."""

    rungs: tuple[int, ...] = ()

    def __init__(self, study: Study) -> None:
        """Nothing of the study matters."""

    def decide(self, trial: int, epoch: int, value: float) -> Decision:
        """Go on, unless `value` is not finite."""
        return Decision(go_on=math.isfinite(value))
