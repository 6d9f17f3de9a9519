"""A search: the record, and the projections that decide by it. No Ray, no torch, no clock."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from search.record import Event, Record
from search.samplers import Sampler
from search.schedulers import Scheduler
from search.trials import State, Trial, Trials
from spaces.study import Study, config_of

FAILURES_IN_A_ROW = 5
"""So many failed trials without another end between them are a fault of the code, not of a configuration."""


class Search:
    """Asks the sampler, hears of epochs and ends, decides by the scheduler, and writes all of it down first.

    Events of an earlier run of the same record, passed as `past`, put sampler, scheduler and trials into the state they
    had; then the search goes on from there.
    """

    def __init__(
        self,
        study: Study,
        record: Record,
        sampler: Sampler,
        scheduler: Scheduler,
        *,
        seed: int,
        trials: int,
        past: Sequence[Event] = (),
    ) -> None:
        self.study, self.record, self.sampler, self.scheduler = study, record, sampler, scheduler
        self.seed, self.max_trials = seed, trials
        self.trials = Trials(study.objective)
        self._ends: list[State] = []
        for event in past:
            self._apply(event)
            if event.kind == "decided":
                self.scheduler.decide(self._number(event), event.body["epoch"], event.body["value"])

    def ask(self) -> Trial | None:
        """The next trial to run, or None if no more are to be started."""
        number = len(self.trials)
        if number >= self.max_trials or self.hopeless():
            return None
        if number < len(self.study.start):
            point, origin = config_of(self.study.start[number]), f"start point {number}"
        else:
            point, origin = config_of(self.sampler.propose(number)), "sampler"
        self._append(("asked", number, {"point": point, "origin": origin}))
        return self.trials[number]

    def config(self, trial: Trial) -> dict[str, Any]:
        """What the trainable is called with. The seed is the search's and the trial's, so trials are independent."""
        seed = random.Random(f"{self.seed}/{trial.number}/train").getrandbits(31)
        return self.study.full_config(trial.point, seed=seed)

    def report(
        self,
        number: int,
        epoch: int,
        metrics: Mapping[str, float],
        *,
        seconds: float,
        checkpoint: str | None = None,
        sha256: str | None = None,
        place: Mapping[str, Any] | None = None,
    ) -> bool:
        """Take in an epoch of trial `number` and say whether it goes on; where it does not, it has ended.

        An epoch that is known already (a trial repeats one after a crash) changes nothing and goes on.
        """
        trial = self.trials[number]
        if trial.state is not State.RUNNING:
            return False
        if epoch <= len(trial.epochs):
            return True
        value = metrics.get(self.study.objective.metric, math.nan)
        best = self.study.objective.best([*trial.values(self.study.objective), value])
        row = {"epoch": epoch, "metrics": dict(metrics), "seconds": seconds, "checkpoint": checkpoint, "sha256": sha256}
        events: list[tuple[str, int | None, Mapping[str, Any]]] = [("epoch", number, {**row, **(place or {})})]
        if not math.isfinite(value):
            known = ", ".join(sorted(metrics))
            why = f"{self.study.objective.metric} is {value} after epoch {epoch}; reported were: {known}"
            self._append(*events, ("ended", number, {"state": State.DIVERGED, "why": why}))
            return False
        if epoch >= self.study.epochs:
            self._append(*events, ("ended", number, {"state": State.COMPLETE, "why": "reached the full budget"}))
            return False
        decision = self.scheduler.decide(number, epoch, best)
        if decision.rung is not None:
            told = {"epoch": epoch, "value": best, "rung": decision.rung, "cutoff": decision.cutoff}
            events.append(("decided", number, {**told, "go_on": decision.go_on}))
        if not decision.go_on:
            why = f"{best:.4f} after {epoch} epochs, {decision.cutoff:.4f} was needed"
            events.append(("ended", number, {"state": State.STOPPED, "why": why}))
        self._append(*events)
        return decision.go_on

    def end(self, number: int, state: State, why: str, traceback: str = "") -> None:
        """Trial `number` ended in `state` for another reason than the scheduler's; nothing if it has ended already."""
        if self.trials[number].state is State.RUNNING:
            told = {"state": state, "why": why, **({"traceback": traceback} if traceback else {})}
            self._append(("ended", number, told))

    def interrupt(self, why: str) -> None:
        """End all trials that still run."""
        for trial in self.trials.running():
            self.end(trial.number, State.INTERRUPTED, why)

    def hopeless(self) -> bool:
        """Whether the last trials failed one after the other, so that going on would only repeat it."""
        last = self._ends[-FAILURES_IN_A_ROW:]
        return len(last) == FAILURES_IN_A_ROW and all(state is State.FAILED for state in last)

    def note(self, kind: str, body: Mapping[str, Any], trial: int | None = None) -> None:
        """Write down an event that is not about the course of a trial."""
        self._append((kind, trial, body))

    def _append(self, *events: tuple[str, int | None, Mapping[str, Any]]) -> None:
        for event in self.record.append(*events):
            self._apply(event)

    def _apply(self, event: Event) -> None:
        self.trials.apply(event)
        if event.kind == "asked":
            self.sampler.started(self._number(event), event.body["point"])
        elif event.kind == "ended":
            trial = self.trials[event.trial]
            self._ends.append(trial.state)
            objective = self.study.objective
            values = [v for v in trial.values(objective) if math.isfinite(v)]
            running_best = [objective.best(values[: i + 1]) for i in range(len(values))]
            self.sampler.ended(trial.number, trial.state, running_best)

    @staticmethod
    def _number(event: Event) -> int:
        assert event.trial is not None
        return event.trial
