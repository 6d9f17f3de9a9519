"""One trial of a search: its configuration, its curve, how it stands and what it is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from search.record.events import WinnerTested
from search.record.state import State
from spaces.space import Value
from spaces.study import Objective

PUBLISHED = "published setting"
"""How the origin of a trial begins that is no point of the space, but was published elsewhere."""

START = "start point"
"""How the origin of a trial begins whose point was given, because it is known to be good elsewhere."""

ADDED = "added by"
"""How the origin of a trial begins whose configuration somebody wanted tried while the search ran."""

CONFIRMATION = "confirmation of trial"
"""How the origin of a trial begins that trains the setting of an earlier one again, from a fresh seed."""

AUDIT = "audit"
"""Why a trial goes on that the scheduler would stop, unless its point was given: to show what stopping costs."""

UNSAVED = "no checkpoint"
"""Why a trial goes on that would be paused: it keeps nothing from which it could go on later."""

REPEAT = "repeat of trial"
"""How the origin of a trial begins that trains a setting again during the search, to tell what a seed decides."""

PROPOSED = "sampler"
"""The origin of a trial whose point the sampler proposed."""

SEED = "train/seed"
"""The hyperparameter whose values are repetitions of one and the same setting."""


@dataclass(frozen=True)
class EpochRow:
    """One epoch as recorded; `seconds` were spent in training steps and validation, the checkpoint has `bytes`."""

    number: int
    metrics: Mapping[str, float]
    seconds: float
    checkpoint: str | None
    sha256: str | None
    bytes: int
    at: float

    def is_again(self, metrics: Mapping[str, float]) -> bool:
        """Whether `metrics` are those of this epoch; what they have that was not measured yet then does not count."""
        return dict(self.metrics) == {name: value for name, value in metrics.items() if name in self.metrics}


@dataclass
class Trial:
    """One trial. `point` is what was searched, or all of a published setting; the study adds the fixed values.

    `attempt` counts the workers that it was given to, from 1; `losses` are the ends that it escaped by being tried
    again, since its last new epoch; `tested` is what the test set gave, None unless it was opened for this trial.
    """

    number: int
    point: Mapping[str, Value]
    origin: str
    began: float
    epochs: list[EpochRow] = field(default_factory=list)
    state: State = State.RUNNING
    why: str = ""
    traceback: str = ""
    ended: float | None = None
    attempt: int = 1
    losses: list[State] = field(default_factory=list)
    tested: WinnerTested | None = None

    @property
    def published(self) -> bool:
        """Whether the trial checks a published setting, so that nothing is to stop it."""
        return self.origin.startswith(PUBLISHED)

    @property
    def given(self) -> bool:
        """Whether its point was given, not proposed."""
        return self.origin.startswith(START)

    @property
    def added(self) -> bool:
        """Whether somebody wanted its configuration tried while the search ran."""
        return self.origin.startswith(ADDED)

    @property
    def confirms(self) -> int | None:
        """The trial that this one confirms; None if it is of the search itself."""
        return int(self.origin.rsplit(" ", 1)[1]) if self.origin.startswith(CONFIRMATION) else None

    @property
    def repeats(self) -> int | None:
        """The trial whose setting this one trains again during the search; None if it is none of these."""
        return int(self.origin.rsplit(" ", 1)[1]) if self.origin.startswith(REPEAT) else None

    @property
    def proposed(self) -> bool:
        """Whether the sampler proposed its point."""
        return self.origin == PROPOSED

    @property
    def exempt(self) -> bool:
        """Whether it is no rival of the others: no scheduler stops it, no sampler learns from it."""
        return self.published or self.confirms is not None or self.repeats is not None

    @property
    def setting(self) -> str:
        """What was searched but the seed, as text that is equal where trials differ by chance alone."""
        return setting_of(self.point)

    def values(self, objective: Objective) -> list[float]:
        """The objective's metric after each epoch."""
        return [row.metrics.get(objective.metric, math.nan) for row in self.epochs]

    def best_value(self, objective: Objective) -> float:
        """What the trial is worth: its best epoch."""
        return objective.best(self.values(objective))

    def best_so_far(self, objective: Objective, budget: int = 0) -> list[float]:
        """The best value up to each epoch; this is what samplers are told.

        An epoch that lacks the metric counts with the next one that has it. Of a trial that is complete and had no use
        for all of its `budget` (epochs), the best holds to the end of that.
        """
        best = objective.worst
        curve: list[float] = []
        for row, value in zip(self.epochs, self.values(objective), strict=True):
            if math.isfinite(value):
                best = objective.best((best, value))
                curve += [best] * (row.number - len(curve))
        if self.state is State.COMPLETE and curve:
            curve += [best] * (budget - len(curve))
        return curve

    def stands_for(self, epoch: int, rungs: Sequence[int], objective: Objective) -> int:
        """The rung for which `epoch` counts, the next one of the trial, which has the metric.

        As a rule itself; where the metric comes every few epochs only, the last rung since it came last.
        """
        last = next((row.number for row in reversed(self.epochs) if objective.metric in row.metrics), 0)
        return max((rung for rung in rungs if last < rung <= epoch), default=epoch)

    def has_value(self, objective: Objective) -> bool:
        """Whether any epoch has a finite value."""
        return objective.better(self.best_value(objective), objective.worst)

    def best_epoch(self, objective: Objective) -> EpochRow:
        """The first epoch with the best value; the trial must have a finite one."""
        best = self.best_value(objective)
        return next(row for row in self.epochs if row.metrics.get(objective.metric) == best)

    def tested_at_best(self, objective: Objective) -> WinnerTested | None:
        """What the test set gave for its best epoch; None if it was not opened for that one."""
        if self.tested is None or self.tested.epoch != self.best_epoch(objective).number:
            return None
        return self.tested


def setting_of(point: Mapping[str, Value]) -> str:
    """See `Trial.setting`."""
    return repr(sorted((name, value) for name, value in point.items() if name != SEED))
