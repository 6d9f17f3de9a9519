"""The trials of a search, as its record tells them: configurations, curves, ends, and which is best."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import accumulate
from typing import Any

from search.record.events import Event, Kind
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

START = "start point"
"""How the origin of a trial begins whose point was given, because it is known to be good elsewhere."""

CONFIRMATION = "confirmation of trial"
"""How the origin of a trial begins that trains the setting of an earlier one again, from a fresh seed."""

AUDIT = "audit"
"""Why a trial goes on that the scheduler would stop, unless its point was given: to show what stopping costs."""

REPEAT = "repeat of trial"
"""How the origin of a trial begins that trains a setting again during the search, to tell what a seed decides."""

PROPOSED = "sampler"
"""The origin of a trial whose point the sampler proposed."""

LEFT = "the confirmation began"
"""Why a trial of the search proper is interrupted when that is over."""

SEED = "train/seed"
"""The hyperparameter whose values are repetitions of one and the same setting."""

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

    @property
    def given(self) -> bool:
        """Whether its point was given, not proposed."""
        return self.origin.startswith(START)

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


@dataclass(frozen=True)
class Confirmed:
    """A setting that was trained again: the trial that the search had of it, and its `again` from fresh seeds."""

    trial: Trial
    again: tuple[Trial, ...]
    objective: Objective

    @property
    def complete(self) -> list[Trial]:
        """Those of `again` that got the full budget; only they count."""
        return [trial for trial in self.again if trial.state is State.COMPLETE]

    @property
    def values(self) -> list[float]:
        """What the fresh seeds came to."""
        return [trial.best_value(self.objective) for trial in self.complete]

    @property
    def best(self) -> Trial:
        """The best of `complete`, of which there must be one."""
        best = self.objective.best(self.values)
        return next(trial for trial, value in zip(self.complete, self.values, strict=True) if value == best)

    @property
    def mean(self) -> float | None:
        """The mean of `values`; None without any."""
        return statistics.fmean(self.values) if self.complete else None


def setting_of(point: Mapping[str, Value]) -> str:
    """See `Trial.setting`."""
    return repr(sorted((name, value) for name, value in point.items() if name != SEED))


class Trials:
    """All trials by number. `apply` each event of the record once, in order.

    `plans` are those by which settings are trained again (see `confirming` in `record`); `confirming` is the last of
    them while it is carried out, None while the search proper goes on.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self._trials: dict[int, Trial] = {}
        self._going: dict[int, Trial] = {}
        self._leader: Trial | None = None
        self.confirmations = 0
        """How many trials are no trials of the search itself, but confirm one."""
        self.epochs = 0
        """Epochs trained, in all trials."""
        self.confirming: Mapping[str, Any] | None = None
        self.plans: list[Mapping[str, Any]] = []
        self.settled: Mapping[str, Any] | None = None
        """Why the search ended before its budget, as `settled.verdict` said; None unless it did."""

    def apply(self, event: Event) -> None:
        """Take in one event; those that are not about a trial's course change nothing."""
        body = event.body
        if event.kind == Kind.ASKED:
            assert event.trial is not None
            self._trials[event.trial] = Trial(event.trial, body["point"], body["origin"], event.at)
            self._going[event.trial] = self._trials[event.trial]
            self.confirmations += self._trials[event.trial].confirms is not None
        elif event.kind == Kind.EPOCH:
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
            self.epochs += 1
        elif event.kind == Kind.REPEATED:
            rows, index = self[event.trial].epochs, body["epoch"] - 1
            rows[index] = replace(
                rows[index], checkpoint=body["checkpoint"], sha256=body["sha256"], bytes=body.get("bytes", 0)
            )
        elif event.kind == Kind.LOST:
            self[event.trial].losses.append(State(body["state"]))
        elif event.kind == Kind.RESTARTED:
            self[event.trial].attempt = body["attempt"]
        elif event.kind == Kind.ENDED:
            trial = self[event.trial]
            trial.state, trial.why, trial.ended = State(body["state"]), body["why"], event.at
            trial.traceback = body.get("traceback", "")
            if trial.state is not State.INTERRUPTED:
                self._going.pop(trial.number, None)
                self._lead(trial)
        elif event.kind == Kind.TESTED:
            self[event.trial].tested = body
        elif event.kind == Kind.CONFIRMING:
            self.confirming = body
            self.plans.append(body)
            for trial in self.running():
                if trial.confirms is None:
                    trial.state, trial.why, trial.ended = State.INTERRUPTED, LEFT, event.at
        elif event.kind == Kind.SETTLED:
            self.settled = body
        elif event.kind == Kind.FINISHED:
            for trial in self.running():
                trial.state, trial.why, trial.ended = State.INTERRUPTED, body["why"], event.at
        elif event.kind == Kind.RESUMED:
            self.settled = None  # if it is still so, that will be said again
            if body.get("reopened"):
                self.confirming = None
            for trial in self.going():
                # What the search proper left behind stays so while its confirmation goes on.
                if trial.state is State.INTERRUPTED and (self.confirming is None or trial.confirms is not None):
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
        return [trial for trial in self.going() if trial.state is State.RUNNING]

    def going(self) -> list[Trial]:
        """The trials that have not ended for good, by number: those that run, and those that were interrupted."""
        return list(self._going.values())

    @property
    def searched(self) -> list[Trial]:
        """The trials of the search itself, by number: all but confirmations."""
        return [trial for trial in self if trial.confirms is None]

    def counts(self) -> dict[str, int]:
        """How many trials there are of each state that occurs."""
        counts = Counter(str(trial.state) for trial in self)
        return {str(state): counts[str(state)] for state in State if counts[str(state)]}

    def ranking(self) -> list[Trial]:
        """Trials with a finite value, the best first; the first of equals was asked first.

        Complete confirmations come first, those of the best confirmed setting before all: the value that the search saw
        was the best of many, and so in part luck. Of the rest complete trials come before all others, and of the others
        those that got further: values after different numbers of epochs are not comparable.
        """
        places = {run.number: place for place, each in enumerate(self.confirmed()) for run in each.complete}

        def key(trial: Trial) -> tuple[Any, ...]:
            return (places.get(trial.number, len(places)), *self._worth(trial))

        return sorted(filter(self._has_worth, self), key=key)

    def _has_worth(self, trial: Trial) -> bool:
        return trial.state not in WORTHLESS and trial.has_value(self.objective)

    def _worth(self, trial: Trial) -> tuple[Any, ...]:
        """Where a trial stands among those that were not confirmed; the least is the best."""
        complete = trial.state is State.COMPLETE
        value = self._sign * trial.best_value(self.objective)
        return (not complete, 0 if complete else -len(trial.epochs), value)

    def leader(self) -> Trial | None:
        """The first of the ranking that has ended for good, or None; without looking at all trials, as a rule."""
        if self.plans:  # what was trained again ranks by means, which change
            return next((trial for trial in self.ranking() if trial.number not in self._going), None)
        return self._leader

    def _lead(self, ended: Trial) -> None:
        if not self._has_worth(ended):
            return
        first = self._leader
        if first is None or (self._worth(ended), ended.number) < (self._worth(first), first.number):
            self._leader = ended

    def confirmed(self) -> list[Confirmed]:
        """The settings that were trained again, that with the best mean first.

        One that is two complete runs behind the others comes after them: its runs diverged, or its confirmation was
        given up, and the mean of the few that are left is luck again. Last are those without a complete run.
        """
        groups: dict[str, list[Trial]] = {}
        for trial in self if self.confirmations else ():
            if trial.confirms is not None:
                groups.setdefault(trial.setting, []).append(trial)
        found = [Confirmed(self[runs[0].confirms], tuple(runs), self.objective) for runs in groups.values()]

        most = max((len(each.complete) for each in found), default=0)

        def key(each: Confirmed) -> tuple[Any, ...]:
            mean, few = each.mean, len(each.complete) < most - 1
            search_value = self._sign * each.trial.best_value(self.objective)
            return (mean is None, few, 0.0 if mean is None else self._sign * mean, search_value)

        return sorted(found, key=key)

    def due(self, plan: Mapping[str, Any]) -> list[int]:
        """The trials still to be trained again by `plan` (the body of `confirming`), in order.

        One seed of all comes before the next of any, so that a confirmation that is cut short compares like with like.
        """
        had = Counter(trial.setting for trial in self if trial.confirms is not None)
        wanted = dict.fromkeys(number for number in [*plan["trials"], plan["control"]] if number is not None)
        return [number for seed in range(plan["seeds"]) for number in wanted if had[self[number].setting] <= seed]

    @property
    def _sign(self) -> int:
        """So that the least is the best."""
        return -1 if self.objective.mode == "max" else 1

    def best(self) -> Trial | None:
        """The first of the ranking, or None if no trial has a finite value."""
        return next(iter(self.ranking()), None)


def replayed(events: Iterable[Event], objective: Objective) -> Trials:
    """The trials as `events` tell them."""
    trials = Trials(objective)
    for event in events:
        trials.apply(event)
    return trials
