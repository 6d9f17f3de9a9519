"""The trials of a search, as its record tells them: configurations, curves, ends, and which is best."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from search.record import Event
from spaces.space import Value
from spaces.study import Objective


class State(StrEnum):
    """How a trial stands, or ended."""

    RUNNING = "running"
    COMPLETE = "complete"
    """Reached the full budget."""
    STOPPED = "stopped"
    """The scheduler saw no promise in it."""
    DIVERGED = "diverged"
    """Its loss was no longer finite."""
    OUT_OF_MEMORY = "out of memory"
    FAILED = "failed"
    """Its code raised an error, or its process died."""
    INTERRUPTED = "interrupted"
    """The search ended before the trial did: time was up, or the user stopped it."""


@dataclass(frozen=True)
class EpochRow:
    """One epoch as recorded; `seconds` were spent in training steps and validation."""

    number: int
    metrics: Mapping[str, float]
    seconds: float
    checkpoint: str | None
    sha256: str | None
    at: float


@dataclass
class Trial:
    """One trial. `point` is what was searched; the study adds the fixed values."""

    number: int
    point: Mapping[str, Value]
    origin: str
    began: float
    epochs: list[EpochRow] = field(default_factory=list)
    state: State = State.RUNNING
    why: str = ""
    traceback: str = ""
    ended: float | None = None

    def values(self, objective: Objective) -> list[float]:
        """The objective's metric after each epoch."""
        return [row.metrics.get(objective.metric, math.nan) for row in self.epochs]

    def best_value(self, objective: Objective) -> float:
        """What the trial is worth: its best epoch."""
        return objective.best(self.values(objective))

    def has_value(self, objective: Objective) -> bool:
        """Whether any epoch has a finite value."""
        return objective.better(self.best_value(objective), objective.worst)

    def best_epoch(self, objective: Objective) -> EpochRow:
        """The first epoch with the best value; the trial must have a finite one."""
        best = self.best_value(objective)
        return next(row for row in self.epochs if row.metrics.get(objective.metric) == best)


class Trials:
    """All trials by number. `apply` each event of the record once, in order."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self._trials: dict[int, Trial] = {}

    def apply(self, event: Event) -> None:
        """Take in one event; those that are not about a trial's course change nothing."""
        body = event.body
        if event.kind == "asked":
            assert event.trial is not None
            self._trials[event.trial] = Trial(event.trial, body["point"], body["origin"], event.at)
        elif event.kind == "epoch":
            self[event.trial].epochs.append(
                EpochRow(body["epoch"], body["metrics"], body["seconds"], body["checkpoint"], body["sha256"], event.at)
            )
        elif event.kind == "ended":
            trial = self[event.trial]
            trial.state, trial.why, trial.ended = State(body["state"]), body["why"], event.at
            trial.traceback = body.get("traceback", "")

    def __getitem__(self, number: int | None) -> Trial:
        assert number is not None
        return self._trials[number]

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._trials.values())

    def __len__(self) -> int:
        return len(self._trials)

    def running(self) -> list[Trial]:
        """The trials that have not ended, by number."""
        return [trial for trial in self if trial.state is State.RUNNING]

    def counts(self) -> dict[str, int]:
        """How many trials there are of each state that occurs."""
        counts = Counter(str(trial.state) for trial in self)
        return {str(state): counts[str(state)] for state in State if counts[str(state)]}

    @property
    def epochs(self) -> int:
        """Epochs trained, in all trials."""
        return sum(len(trial.epochs) for trial in self)

    def ranking(self) -> list[Trial]:
        """Trials with a finite value, the best first; the first of equals was asked first.

        Complete trials come before all others, and of the others those that got further: values after different
        numbers of epochs are not comparable.
        """
        lost = (State.DIVERGED, State.FAILED, State.OUT_OF_MEMORY)
        worth = [trial for trial in self if trial.state not in lost and trial.has_value(self.objective)]
        sign = -1 if self.objective.mode == "max" else 1

        def key(trial: Trial) -> tuple[Any, ...]:
            complete = trial.state is State.COMPLETE
            return (not complete, 0 if complete else -len(trial.epochs), sign * trial.best_value(self.objective))

        return sorted(worth, key=key)

    def best(self) -> Trial | None:
        """The first of the ranking, or None if no trial has a finite value."""
        return next(iter(self.ranking()), None)


def replayed(events: Iterable[Event], objective: Objective) -> Trials:
    """The trials as `events` tell them."""
    trials = Trials(objective)
    for event in events:
        trials.apply(event)
    return trials
