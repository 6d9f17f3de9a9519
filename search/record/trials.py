"""The trials of a search, as its record tells them: which there are, how they stand, and which is best."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from search.record.events import (
    Asked,
    Closing,
    Confirming,
    Decided,
    Ended,
    EpochReport,
    Event,
    Finished,
    Kind,
    Lost,
    Repeated,
    Restarted,
    Settled,
    WinnerTested,
)
from search.record.state import WORTHLESS, State
from search.record.trial import EpochRow, Trial
from spaces.study import Objective

LEFT = "the confirmation began"
"""Why a trial of the search proper is interrupted when that is over."""


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


class Trials:
    """All trials by number. `apply` each event of the record once, in order.

    `plans` are those by which settings are trained again; `confirming` is the last of them while it is carried out,
    None while the search proper goes on.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self._trials: dict[int, Trial] = {}
        self._going: dict[int, Trial] = {}
        self._leader: Trial | None = None
        self.confirmations = 0
        """How many trials are no trials of the search itself, but confirm one."""
        self.added = 0
        """How many somebody asked for while the search ran."""
        self.epochs = 0
        """Epochs trained, in all trials."""
        self.confirming: Confirming | None = None
        self.plans: list[Confirming] = []
        self.settled: Settled | None = None
        """Why the search ended before its budget; None unless it did."""
        self.closing: Closing | None = None
        """Why nothing new begins; None as long as there is time."""

    def apply(self, event: Event) -> None:
        """Take in one event; those that are not about a trial's course change nothing."""
        take = self._TAKE.get(event.kind)
        if take is not None:
            take(self, event)

    def _asked(self, event: Event) -> None:
        assert event.trial is not None
        body = Asked.of(event)
        trial = Trial(event.trial, body.point, body.origin, event.at)
        self._trials[event.trial] = self._going[event.trial] = trial
        self.confirmations += trial.confirms is not None
        self.added += trial.added

    def _epoch(self, event: Event) -> None:
        trial, told = self[event.trial], EpochReport.of(event)
        row = EpochRow(told.epoch, told.metrics, told.seconds, told.checkpoint, told.sha256, told.bytes, event.at)
        trial.epochs.append(row)
        trial.losses.clear()
        self.epochs += 1

    def _repeated(self, event: Event) -> None:
        rows, told = self[event.trial].epochs, Repeated.of(event)
        rows[told.epoch - 1] = replace(
            rows[told.epoch - 1], checkpoint=told.checkpoint, sha256=told.sha256, bytes=told.bytes
        )

    def _lost(self, event: Event) -> None:
        self[event.trial].losses.append(Lost.of(event).state)

    def _restarted(self, event: Event) -> None:
        self[event.trial].attempt = Restarted.of(event).attempt

    def _decided(self, event: Event) -> None:
        if (decided := Decided.of(event)).pause:
            trial = self[event.trial]
            trial.state, trial.why = State.PAUSED, f"put aside after epoch {decided.epoch}; it may go on"

    def _continued(self, event: Event) -> None:
        trial = self[event.trial]
        trial.state, trial.why = State.RUNNING, ""

    def _ended(self, event: Event) -> None:
        trial, body = self[event.trial], Ended.of(event)
        trial.state, trial.why, trial.ended, trial.traceback = body.state, body.why, event.at, body.traceback or ""
        if trial.state is not State.INTERRUPTED:
            self._going.pop(trial.number, None)
            self._lead(trial)

    def _tested(self, event: Event) -> None:
        self[event.trial].tested = WinnerTested.of(event)

    def _began_to_confirm(self, event: Event) -> None:
        self.confirming = Confirming.of(event)
        self.plans.append(self.confirming)
        self._interrupt((trial for trial in self.running() if trial.confirms is None), LEFT, event.at)

    def _was_settled(self, event: Event) -> None:
        self.settled = Settled.of(event)

    def _is_closing(self, event: Event) -> None:
        self.closing = Closing.of(event)

    def _steered(self, event: Event) -> None:
        if event.body.get("time_budget") is not None:
            self.closing = None

    def _finished(self, event: Event) -> None:
        self._interrupt(self.running(), Finished.of(event).why, event.at)

    def _resumed(self, event: Event) -> None:
        self.settled = self.closing = None  # if it is still so, that will be said again
        if event.body.get("reopened"):
            self.confirming = None
        for trial in self.going():
            # What the search proper left behind stays so while its confirmation goes on.
            if trial.state is State.INTERRUPTED and (self.confirming is None or trial.confirms is not None):
                trial.state, trial.why, trial.ended = State.RUNNING, "", None

    @staticmethod
    def _interrupt(trials: Iterable[Trial], why: str, at: float) -> None:
        for trial in trials:
            trial.state, trial.why, trial.ended = State.INTERRUPTED, why, at

    _TAKE: ClassVar[Mapping[Kind, Callable[[Trials, Event], None]]] = {
        Kind.RESUMED: _resumed,
        Kind.ASKED: _asked,
        Kind.LOST: _lost,
        Kind.RESTARTED: _restarted,
        Kind.EPOCH: _epoch,
        Kind.REPEATED: _repeated,
        Kind.DECIDED: _decided,
        Kind.CONTINUED: _continued,
        Kind.ENDED: _ended,
        Kind.CONFIRMING: _began_to_confirm,
        Kind.SETTLED: _was_settled,
        Kind.CLOSING: _is_closing,
        Kind.STEERED: _steered,
        Kind.TESTED: _tested,
        Kind.FINISHED: _finished,
    }

    def __getitem__(self, number: int | None) -> Trial:
        assert number is not None
        return self._trials[number]

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._trials.values())

    def __len__(self) -> int:
        return len(self._trials)

    def running(self) -> list[Trial]:
        """The trials that have, or wait for, a worker, by number."""
        return [trial for trial in self.going() if trial.state is State.RUNNING]

    def paused(self) -> list[Trial]:
        """The trials that the scheduler has put aside, by number."""
        return [trial for trial in self.going() if trial.state is State.PAUSED]

    def going(self) -> list[Trial]:
        """The trials that have not ended for good, by number: those that run, are paused, or were interrupted."""
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
        return sorted(filter(self._has_worth, self), key=self._rank())

    def _rank(self) -> Callable[[Trial], tuple[Any, ...]]:
        """By what trials are ranked; the least is the best."""
        places = {run.number: place for place, each in enumerate(self.confirmed()) for run in each.complete}
        return lambda trial: (places.get(trial.number, len(places)), *self._worth(trial))

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

    def due(self, plan: Confirming) -> list[int]:
        """The trials still to be trained again by `plan`, in order.

        One seed of all comes before the next of any, so that a confirmation that is cut short compares like with like.
        """
        had = Counter(trial.setting for trial in self if trial.confirms is not None)
        wanted = dict.fromkeys(number for number in [*plan.trials, plan.control] if number is not None)
        return [number for seed in range(plan.seeds) for number in wanted if had[self[number].setting] <= seed]

    @property
    def _sign(self) -> int:
        """So that the least is the best."""
        return -1 if self.objective.mode == "max" else 1

    def best(self) -> Trial | None:
        """The first of the ranking, or None if no trial has a finite value."""
        return min(filter(self._has_worth, self), key=self._rank(), default=None)


def replayed(events: Iterable[Event], objective: Objective) -> Trials:
    """The trials as `events` tell them."""
    trials = Trials(objective)
    for event in events:
        trials.apply(event)
    return trials
