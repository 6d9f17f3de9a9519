"""The trials of a search, as its record tells them: configurations, curves, ends, and which is best."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import accumulate
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
    """Its code raised an error or yielded what it must not, or its process died again and again."""
    TIMED_OUT = "timed out"
    """It reported nothing for too long, twice."""
    PREEMPTED = "preempted"
    """Its nodes were taken away more often than it was worth trying again."""
    INTERRUPTED = "interrupted"
    """The search was left before the trial ended: time was up, or it was stopped. It goes on if the search does."""


PUBLISHED = "published setting"
"""How the origin of a trial begins that is no point of the space, but was published elsewhere."""

WORTHLESS = (State.DIVERGED, State.FAILED, State.OUT_OF_MEMORY)
"""Ends after which a trial is not ranked, whatever it showed before."""


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


@dataclass
class Trial:
    """One trial. `point` is what was searched, or all of a published setting; the study adds the fixed values.

    `attempt` counts the workers that it was given to, from 1; `losses` are the ends that it escaped by being tried
    again, since its last new epoch; `tested` is what the test set gave, if it was opened for this trial.
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
    tested: Mapping[str, Any] = field(default_factory=dict)

    @property
    def published(self) -> bool:
        """Whether the trial checks a published setting, so that nothing is to stop it."""
        return self.origin.startswith(PUBLISHED)

    def values(self, objective: Objective) -> list[float]:
        """The objective's metric after each epoch."""
        return [row.metrics.get(objective.metric, math.nan) for row in self.epochs]

    def best_value(self, objective: Objective) -> float:
        """What the trial is worth: its best epoch."""
        return objective.best(self.values(objective))

    def best_so_far(self, objective: Objective) -> list[float]:
        """The best value up to each epoch that has a finite one; this is what samplers are told."""
        values = [value for value in self.values(objective) if math.isfinite(value)]
        return list(accumulate(values, lambda best, value: objective.best((best, value))))

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
            row = EpochRow(
                body["epoch"],
                body["metrics"],
                body["seconds"],
                body["checkpoint"],
                body["sha256"],
                body.get("bytes", 0),
                event.at,
            )
            self[event.trial].epochs.append(row)
            self[event.trial].losses.clear()
        elif event.kind == "repeated":
            rows, index = self[event.trial].epochs, body["epoch"] - 1
            rows[index] = replace(
                rows[index], checkpoint=body["checkpoint"], sha256=body["sha256"], bytes=body.get("bytes", 0)
            )
        elif event.kind == "lost":
            self[event.trial].losses.append(State(body["state"]))
        elif event.kind == "restarted":
            self[event.trial].attempt = body["attempt"]
        elif event.kind == "ended":
            trial = self[event.trial]
            trial.state, trial.why, trial.ended = State(body["state"]), body["why"], event.at
            trial.traceback = body.get("traceback", "")
        elif event.kind == "tested":
            self[event.trial].tested = body
        elif event.kind == "finished":
            for trial in self.running():
                trial.state, trial.why, trial.ended = State.INTERRUPTED, body["why"], event.at
        elif event.kind == "resumed":
            for trial in self:
                if trial.state is State.INTERRUPTED:
                    trial.state, trial.why, trial.ended = State.RUNNING, "", None

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
        worth = [trial for trial in self if trial.state not in WORTHLESS and trial.has_value(self.objective)]
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
