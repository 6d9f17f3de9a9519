"""A search: the record, and the projections that decide by it. No Ray, no torch, no clock."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from search.decide import settled
from search.decide.samplers.sampler import Sampler
from search.decide.schedulers.scheduler import Scheduler
from search.record.events import Entry, Event, Kind
from search.record.trials import (
    AUDIT,
    CONFIRMATION,
    PROPOSED,
    PUBLISHED,
    REPEAT,
    SEED,
    START,
    EpochRow,
    State,
    Trial,
    Trials,
    setting_of,
)
from search.settings import CONFIRM_SEEDS
from search.signals import uninterrupted
from spaces.study import Study, config_of

FAILURES_IN_A_ROW = 5
"""So many trials that fail alike, without another end between them, are a fault of the code, not of configurations."""

RETRIES = {State.FAILED: 2, State.TIMED_OUT: 1, State.OUT_OF_MEMORY: 1, State.PREEMPTED: 10}
"""How often a trial is tried again without a new epoch in between, by the end it would have come to.

These are losses of the worker. What the trainable itself raises is an end at once: it would be raised again.
"""


def trial_config(study: Study, seed: int, trial: Trial) -> dict[str, Any]:
    """What the trainable is called with. Its seed is of the search and of the trial, so trials are independent."""
    return study.full_config(trial.point, seed=_own_seed(seed, trial.number))


def _own_seed(seed: int, number: int) -> int:
    return random.Random(f"{seed}/{number}/train").getrandbits(31)


class Events(Protocol):
    """Where a search writes; `Record` is one."""

    def append(self, *events: Entry) -> list[Event]:
        """See `Record.append`."""


class Search:
    """Asks the sampler, hears of epochs and ends, decides by the scheduler, and writes all of it down first.

    Events of an earlier run of the same record, passed as `past`, put sampler, scheduler and trials into the state they
    had; a note of `resumed` then puts the trials that were running first in line.

    With `confirm` the search proper is followed by a confirmation: the best so many settings, and the first start point
    as their control, are trained again in full, each from so many fresh seeds (`confirm_seeds`), as trials that no
    scheduler stops and no sampler hears of.

    Where the scheduler would stop a trial, one whose point was given goes on all the same, and so does the share
    `audit` (0 to 1) of the others, drawn by seed and number.

    With `until_settled` the search proper ends, before its budgets are spent, when `settled.verdict` says so; the
    repeats that this takes are trials that no scheduler stops and no sampler hears of.
    """

    def __init__(
        self,
        study: Study,
        record: Events,
        sampler: Sampler,
        scheduler: Scheduler,
        *,
        seed: int,
        trials: int,
        confirm: int | None = None,
        confirm_seeds: int = CONFIRM_SEEDS,
        audit: float = 0.0,
        until_settled: bool = False,
        past: Sequence[Event] = (),
    ) -> None:
        self.study, self.record, self.sampler, self.scheduler = study, record, sampler, scheduler
        self.seed, self.max_trials = seed, trials
        self._confirm, self._confirm_seeds, self._audit = confirm, confirm_seeds, audit
        self._until_settled = until_settled
        self.trials = Trials(study.objective)
        self._waiting: list[int] = []
        self._ends: list[tuple[State, str]] = []
        for event in past:
            self._apply(event)
            if event.kind == Kind.DECIDED:
                self.scheduler.decide(self._number(event), event.body["epoch"], event.body["value"])

    def again(self) -> Trial | None:
        """A trial that waits for another worker, or None; `restart` then tells from where it goes on."""
        return self.trials[self._waiting.pop(0)] if self._waiting and not self.hopeless() else None

    def ask(self) -> Trial | None:
        """A new trial, or None if none is to be started: enough are, or the sampler has nothing left to try.

        Where nothing is left and nothing runs, the confirmation begins, if one is wanted. None too while it waits.
        """
        if self.hopeless():
            return None
        if self.trials.confirming is None:
            trial = self._ask()
            if trial is not None or self.trials.running():
                return trial
            self.confirm()
        due = self.trials.due(self.trials.confirming) if self.trials.confirming else []
        if not due:
            return None
        number, point = len(self.trials), dict(self.trials[due[0]].point)
        if SEED in point:
            point[SEED] = _own_seed(self.seed, number)
        self._append((Kind.ASKED, number, {"point": config_of(point), "origin": f"{CONFIRMATION} {due[0]}"}))
        return self.trials[number]

    def _ask(self) -> Trial | None:
        """A new trial of the search proper."""
        number = len(self.trials)
        asked = number - self.trials.confirmations
        if asked >= self.max_trials or self._settled():
            return None
        published, start = self.study.published, self.study.start
        again = settled.to_repeat(self.trials) if self._until_settled else None
        if asked < len(published):
            point, origin = config_of(published[asked].config), f"{PUBLISHED} {asked}"
        elif asked < len(published) + len(start):
            index = asked - len(published)
            point, origin = config_of(start[index]), f"{START} {index}"
        elif again is not None:
            point, origin = config_of(again.point), f"{REPEAT} {again.number}"
        else:
            proposed = self.sampler.propose(number)
            if proposed is None:
                return None
            point, origin = config_of(proposed), PROPOSED
        self._append((Kind.ASKED, number, {"point": point, "origin": origin}))
        return self.trials[number]

    def _settled(self) -> bool:
        """Whether going on would gain less than a seed decides; says so in the record once it is known."""
        if self._until_settled and self.trials.settled is None:
            verdict = settled.verdict(self.trials, self.study)
            if verdict is not None:
                self._append((Kind.SETTLED, None, verdict))
        return self.trials.settled is not None

    def confirm(self) -> None:
        """End the search proper and write down what is confirmed; nothing if that is not wanted, or not possible.

        Trials that run are left as they are, interrupted; they go on if the search is given more.
        """
        plan = self.confirmation_plan()
        if plan is not None and self.trials.confirming is None:
            self._append((Kind.CONFIRMING, None, plan))

    def confirmation_plan(self) -> dict[str, Any] | None:
        """What would be confirmed now: the best `trials`, the `control` or None, and how many `seeds` of each.

        Of trials with equal settings the best stands for all. None if no confirmation is wanted or no trial has a
        finite value.
        """
        best: dict[str, int] = {}
        for trial in self.trials.ranking() if self._confirm else ():
            if trial.confirms is None:
                best.setdefault(trial.setting, trial.number)
        if not best:
            return None
        control = best.get(setting_of(config_of(self.study.start[0]))) if self.study.start else None
        return {"trials": list(best.values())[: self._confirm], "control": control, "seeds": self._confirm_seeds}

    def restart(self, trial: Trial, row: EpochRow | None) -> None:
        """Write down that a worker gets `trial` again and goes on after the epoch `row`, or from the start if None."""
        told = {
            "attempt": trial.attempt + 1,
            "checkpoint": row.checkpoint if row else None,
            "epoch": row.number if row else 0,
        }
        self._append((Kind.RESTARTED, trial.number, told))

    def config(self, trial: Trial) -> dict[str, Any]:
        """What the trainable is called with."""
        return trial_config(self.study, self.seed, trial)

    def report(
        self,
        number: int,
        epoch: int,
        metrics: Mapping[str, float],
        *,
        seconds: float,
        checkpoint: str | None = None,
        sha256: str | None = None,
        size: int = 0,
        place: Mapping[str, Any] | None = None,
    ) -> bool:
        """Take in an epoch of trial `number` and say whether it goes on; where it does not, it has ended.

        An epoch that is known (a trial repeats some after a restart) changes no value and no decision, only where its
        checkpoint is; the trial goes on.
        """
        trial = self.trials[number]
        if trial.state is not State.RUNNING:
            return False
        saved = {"checkpoint": checkpoint, "sha256": sha256, "bytes": size}
        if epoch <= len(trial.epochs):
            same = dict(metrics) == dict(trial.epochs[epoch - 1].metrics)
            self._append((Kind.REPEATED, number, {"epoch": epoch, "same": same, **saved}))
            return True
        value = metrics.get(self.study.objective.metric, math.nan)
        best = self.study.objective.best([*trial.values(self.study.objective), value])
        row = {"epoch": epoch, "metrics": dict(metrics), "seconds": seconds, **saved}
        events: list[Entry] = [(Kind.EPOCH, number, {**row, **(place or {})})]
        if not math.isfinite(value):
            metric, known = self.study.objective.metric, ", ".join(sorted(metrics)) or "none"
            state, why = State.DIVERGED, f"{metric} is {value} after epoch {epoch}; reported were: {known}"
            if metric not in metrics:  # a fault of the code, which other values of hyperparameters would not mend
                state = State.FAILED
                why = f"epoch {epoch} lacks the metric {metric}; reported were: {known}; yield it, or set the objective"
            self._append(*events, (Kind.ENDED, number, {"state": state, "why": why}))
            return False
        if epoch >= self.study.epochs_of(trial.point):
            self._append(*events, (Kind.ENDED, number, {"state": State.COMPLETE, "why": "reached the full budget"}))
            return False
        if trial.exempt:
            self._append(*events)
            return True
        decision = self.scheduler.decide(number, epoch, best)
        spared = None if decision.go_on else self._spared(trial)
        goes_on = decision.go_on or spared is not None
        if decision.rung is not None:
            told = {"epoch": epoch, "value": best, "rung": decision.rung, "cutoff": decision.cutoff, "go_on": goes_on}
            events.append((Kind.DECIDED, number, {**told, **({"spared": spared} if spared else {})}))
        if not goes_on:
            why = f"{best:.4f} after {epoch} epochs, {decision.cutoff:.4f} was needed"
            events.append((Kind.ENDED, number, {"state": State.STOPPED, "why": why}))
        self._append(*events)
        return goes_on

    def _spared(self, trial: Trial) -> str | None:
        """Why a trial that the scheduler would stop goes on all the same, or None if it does not.

        Points that were given are known to be good elsewhere, and a first epoch is little against that; and a share of
        the others, drawn by their numbers, shows what stopping costs.
        """
        if trial.given:
            return START
        chance = random.Random(f"{self.seed}/{trial.number}/audit").random()
        return AUDIT if chance < self._audit else None

    def end(self, number: int, state: State, why: str, traceback: str = "") -> None:
        """Trial `number` ended in `state` for another reason than the scheduler's; nothing if it has ended already."""
        if self.trials[number].state is State.RUNNING:
            told = {"state": state, "why": why, **({"traceback": traceback} if traceback else {})}
            self._append((Kind.ENDED, number, told))

    def lost(self, number: int, state: State, why: str) -> bool:
        """Trial `number` lost its worker and would end in `state`; say whether it will be tried again instead."""
        trial = self.trials[number]
        if trial.state is not State.RUNNING:
            return False
        if trial.losses.count(state) >= RETRIES[state]:
            self.end(number, state, f"{why} ({trial.attempt} attempts)")
            return False
        self._append((Kind.LOST, number, {"attempt": trial.attempt, "state": state, "why": why}))
        return True

    def hopeless(self) -> bool:
        """Whether the last trials failed alike, one after the other, so that going on would only repeat it."""
        last = self._ends[-FAILURES_IN_A_ROW:]
        return len(last) == FAILURES_IN_A_ROW and last[0][0] is State.FAILED and len(set(last)) == 1

    def note(self, kind: Kind, body: Mapping[str, Any], trial: int | None = None) -> None:
        """Write down an event that is not about the course of a trial."""
        self._append((kind, trial, body))

    def _append(self, *events: Entry) -> None:
        with uninterrupted():  # or memory would lack what is on disk
            for event in self.record.append(*events):
                self._apply(event)

    def _apply(self, event: Event) -> None:
        self.trials.apply(event)
        if event.kind == Kind.ASKED:
            trial = self.trials[event.trial]
            if not trial.exempt:
                self.sampler.started(trial.number, trial.point)
        elif event.kind == Kind.EPOCH:
            trial = self.trials[event.trial]
            if not trial.exempt:
                self.sampler.heard(trial.number, trial.best_so_far(self.study.objective))
        elif event.kind == Kind.ENDED:
            trial = self.trials[event.trial]
            # Without its numbers, which differ from trial to trial, a message tells one fault from another.
            self._ends.append((trial.state, re.sub(r"\d+", "#", trial.why)))
            if not trial.exempt:
                self.sampler.ended(trial.number, trial.state, trial.best_so_far(self.study.objective))
        elif event.kind == Kind.LOST:
            self._waiting.append(self._number(event))
        elif event.kind == Kind.CONFIRMING:
            self._waiting = [number for number in self._waiting if self.trials[number].confirms is not None]
        elif event.kind == Kind.RESUMED:
            self.max_trials = event.body["trials"]
            self._confirm = event.body.get("confirm", self._confirm)
            self._confirm_seeds = event.body.get("confirm_seeds", self._confirm_seeds)
            self._waiting = [trial.number for trial in self.trials.running()]
            self._ends.clear()  # what made the trials fail may have been mended

    @staticmethod
    def _number(event: Event) -> int:
        assert event.trial is not None
        return event.trial
