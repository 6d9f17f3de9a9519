"""A search: the record, and the projections that decide by it. No Ray, no torch, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from search.decide import agenda, settled, steering
from search.decide.ends import by_its_epoch, by_its_return
from search.decide.prospects import Judge, cannot_judge
from search.decide.samplers import SAMPLERS
from search.decide.samplers.sampler import Sampler
from search.decide.schedulers import SCHEDULERS
from search.decide.schedulers.scheduler import Scheduler
from search.decide.spared import why_spared
from search.decide.streak import Streak
from search.errors import EnvironmentFault
from search.record.events import (
    Body,
    Continued,
    Decided,
    Ended,
    Entry,
    EpochReport,
    Event,
    Kind,
    Lost,
    Repeated,
    Restarted,
    Steered,
)
from search.record.header import Header
from search.record.state import State
from search.record.steering import Request, Steering
from search.record.trial import (
    EpochRow,
    Trial,
)
from search.record.trials import Trials
from search.settings import Options, adjusted, nearest
from search.signals import uninterrupted
from spaces.study import Study

RETRIES = {State.FAILED: 2, State.TIMED_OUT: 1, State.OUT_OF_MEMORY: 1, State.PREEMPTED: 10}
"""How often a trial is tried again without a new epoch in between, by the end it would have come to.

These are losses of the worker. What the trainable itself raises is an end at once: it would be raised again.
"""


class Events(Protocol):
    """Where a search writes; `Record` is one."""

    def append(self, *events: Entry) -> list[Event]:
        """See `Record.append`."""


class Search:
    """Asks the sampler, hears of epochs and ends, decides by the scheduler, and writes all of it down first.

    Events of an earlier run of the same record, passed as `past`, put sampler, scheduler and trials into the state they
    had; a note of `resumed` then puts the trials that were running first in line.

    `rules` are the options that the search began with; what it was given since is in `past`. All that is drawn follows
    from `seed`. So many `trials` are asked for, confirmations not counted.

    With `confirm` the search proper is followed by a confirmation: the best so many settings, and the first start point
    as their control, are trained again in full, each from so many fresh seeds (`confirm_seeds`), as trials that no
    scheduler stops and no sampler hears of.

    A scheduler that pauses trials lets them go on when a worker is free: `again` and `goes_on_at_once` tell which.

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
        rules: Options,
        *,
        past: Sequence[Event] = (),
    ) -> None:
        self.study, self.record, self.sampler, self.scheduler, self.rules = study, record, sampler, scheduler, rules
        self.trials, self.steering = Trials(study.objective), Steering()
        self._waiting: list[int] = []
        self.streak = Streak()
        for event in past:
            self.apply(event)
            if event.kind == Kind.DECIDED:
                told = Decided.of(event)
                self.scheduler.decide(self._number(event), told.rung, told.value)

    @classmethod
    def of(cls, header: Header, study: Study, record: Events, *, past: Sequence[Event] = ()) -> Search:
        """The search of `study` that `header` describes, with sampler and scheduler made afresh.

        Raises EnvironmentFault if there are none of these names, or they do not go together.
        """
        for kind, name, known in (("sampler", header.sampler, SAMPLERS), ("scheduler", header.scheduler, SCHEDULERS)):
            if name not in known:
                raise EnvironmentFault(nearest(kind, name, sorted(known)))
        sampler, scheduler = SAMPLERS[header.sampler](study, header.seed), SCHEDULERS[header.scheduler](study)
        if scheduler.pauses and not isinstance(sampler, Judge):
            raise EnvironmentFault(cannot_judge(header.sampler, header.scheduler, SAMPLERS))
        return cls(study, record, sampler, scheduler, header, past=past)

    def again(self) -> Trial | None:
        """A trial that waits for another worker, or None; `restart` then tells from where it goes on.

        It lost the one that it had, or it was paused and is to go on now.
        """
        if not self._waiting:
            self.let_go_on()
        return self.trials[self._waiting.pop(0)] if self._waiting and not self._rests() else None

    def _rests(self) -> bool:
        """Whether nothing is to begin at present."""
        return self.hopeless() or bool(self.steering.paused)

    def steer(self, request: Request) -> Steered | None:
        """Take in what somebody asks of the search, and say what came of it; None for what was taken in before."""
        if request.id in self.steering.ids:
            return None
        told = steering.answer(request, self.trials, self.steering, self.rules, self.study)
        end = [] if told.trial is None else [steering.end_of(told).entry(told.trial)]
        self._write(told.entry(), *end)
        return told

    def let_go_on(self) -> None:
        """Let a paused trial wait for a worker, if the scheduler says that one is to go on before a new one begins."""
        number = self._to_continue()
        if number is not None:
            self._append(number, Continued(at_once=False))

    def goes_on_at_once(self, number: int) -> bool:
        """Whether trial `number`, if it has just been paused, is the one to go on; then it keeps its worker."""
        if self.trials[number].state is not State.PAUSED or self._waiting or self._to_continue() != number:
            return False
        self._append(number, Continued(at_once=True))
        return True

    def _to_continue(self) -> int | None:
        """The paused trial with which a free worker goes on; None if there is none."""
        if not self.scheduler.pauses or self._rests() or self.steering.next:
            return None
        return agenda.to_continue(self.trials, self.study, self.rules, self.sampler, self.scheduler)

    def ask(self) -> Trial | None:
        """A new trial, or None if none is to be started: enough are, or the sampler has nothing left to try.

        Where nothing is left and nothing runs, the confirmation begins, if one is wanted. None too while it waits.
        """
        if self._rests():
            return None
        if self.trials.confirming is None:
            trial = self._ask()
            if trial is not None or self.trials.running():
                return trial
            self.confirm()
        again = agenda.next_confirmation(self.trials, self.rules.seed)
        if again is None:
            return None
        number = len(self.trials)
        self._append(number, again)
        return self.trials[number]

    def _ask(self) -> Trial | None:
        """A new trial of the search proper."""
        number = len(self.trials)
        if not agenda.may_begin(self.trials, self.study, self.rules) or self._settled():
            return None
        if agenda.too_late(self.trials, self.steering):
            return None
        asked = agenda.next_one(self.trials, self.study, self.rules, self.sampler, self.steering)
        if asked is None:
            return None
        self._append(number, asked)
        return self.trials[number]

    def _settled(self) -> bool:
        """Whether going on would gain less than a seed decides; says so in the record once it is known."""
        if self.rules.until_settled and self.trials.settled is None:
            verdict = settled.verdict(self.trials, self.study)
            if verdict is not None:
                self._append(None, verdict)
        return self.trials.settled is not None

    def confirm(self) -> None:
        """End the search proper and write down what is confirmed; nothing if that is not wanted, or not possible.

        Trials that run are left as they are, interrupted; they go on if the search is given more.
        """
        plan = agenda.to_confirm(self.trials, self.study, self.rules)
        if plan is not None and self.trials.confirming is None:
            self._append(None, plan)

    def restart(self, trial: Trial, row: EpochRow | None) -> None:
        """Write down that a worker gets `trial` again and goes on after the epoch `row`, or from the start if None."""
        checkpoint, epoch = (row.checkpoint, row.number) if row else (None, 0)
        self._append(trial.number, Restarted(trial.attempt + 1, checkpoint, epoch))

    def config(self, trial: Trial) -> dict[str, Any]:
        """What the trainable is called with."""
        return agenda.trial_config(self.study, self.rules.seed, trial)

    def report(self, number: int, report: EpochReport) -> bool:
        """Take in an epoch of trial `number` and say whether it goes on; where it does not, it is paused or has ended.

        An epoch that is known (a trial repeats some after a restart) changes no value and no decision, only where its
        checkpoint is; the trial goes on.
        """
        trial = self.trials[number]
        if trial.state is not State.RUNNING:
            return False
        report = replace(report, metrics=self.study.objective.weighed(report.metrics))
        if report.epoch <= len(trial.epochs):
            same = trial.epochs[report.epoch - 1].is_again(report.metrics)
            self._append(number, Repeated(report.epoch, same, report.checkpoint, report.sha256, report.bytes))
            return True
        end = by_its_epoch(trial, report, self.study)
        if end is not None:
            self._append(number, report, end)
            return False
        decided, stopped = (None, None) if trial.exempt else self._decide(trial, report)
        self._append(number, *(each for each in (report, decided, stopped) if each is not None))
        return stopped is None and trial.state is State.RUNNING

    def _decide(self, trial: Trial, report: EpochReport) -> tuple[Decided | None, Ended | None]:
        """What the scheduler says of `trial` at a rung, None elsewhere, and its end if it is stopped there."""
        objective, epoch = self.study.objective, report.epoch
        if objective.metric not in report.metrics:
            return None, None
        best = objective.best([*trial.values(objective), report.metrics[objective.metric]])
        decision = self.scheduler.decide(trial.number, trial.stands_for(epoch, self.scheduler.rungs, objective), best)
        spared = None if decision.go_on else why_spared(trial, report, self.rules, paused=decision.pause)
        goes_on = decision.go_on or spared is not None
        paused = decision.pause and not goes_on
        decided = stopped = None
        if decision.rung is not None:
            decided = Decided(epoch, best, decision.rung, decision.cutoff, goes_on, spared, paused or None)
        if not goes_on and not paused:
            why = f"{best:.4f} after {epoch} epochs, {decision.cutoff:.4f} was needed"
            stopped = Ended(State.STOPPED, why)
        return decided, stopped

    def end(self, number: int, state: State, why: str, traceback: str = "") -> None:
        """Trial `number` ended in `state` for another reason than the scheduler's; nothing if it has ended already."""
        if self.trials[number].state is State.RUNNING:
            self._append(number, Ended(state, why, traceback or None))

    def finish_early(self, number: int) -> None:
        """Trial `number` returned before its last epoch: it is complete, and worth its best."""
        trial = self.trials[number]
        if trial.state is State.RUNNING:
            self._append(number, by_its_return(trial, self.study))

    def lost(self, number: int, state: State, why: str) -> bool:
        """Trial `number` lost its worker and would end in `state`; say whether it will be tried again instead."""
        trial = self.trials[number]
        if trial.state is not State.RUNNING:
            return False
        if trial.losses.count(state) >= RETRIES[state]:
            self.end(number, state, f"{why} ({trial.attempt} attempts)")
            return False
        self._append(number, Lost(trial.attempt, state, why))
        return True

    def hopeless(self) -> bool:
        """Whether trials failed alike, one after the other, so that going on would only repeat it."""
        return bool(self.streak.why)

    def why_no_more(self) -> str:
        """Why fewer trials began than were asked for, where no time was up; "" if that is known otherwise."""
        asked, budget = len(self.trials.searched), self.rules.trials or self.study.trials
        if asked >= budget or self.trials.settled is not None or self.hopeless():
            return ""
        if self.trials.closing is not None:
            return f"what was left of the time was too little for another trial, after {asked} of {budget}"
        return f"the sampler has nothing left to try after {asked} of {budget} trials"

    def note(self, body: Body, trial: int | None = None) -> None:
        """Write down an event that is not about the course of a trial."""
        self._append(trial, body)

    def _append(self, trial: int | None, *bodies: Body) -> None:
        self._write(*(body.entry(trial) for body in bodies))

    def _write(self, *entries: Entry) -> None:
        with uninterrupted():  # or memory would lack what is on disk
            for event in self.record.append(*entries):
                self.apply(event)

    def apply(self, event: Event) -> None:
        """Take in an event that is in the record already."""
        self.trials.apply(event)
        self.steering.apply(event)
        if event.kind == Kind.LOST or (event.kind == Kind.CONTINUED and not Continued.of(event).at_once):
            self._waiting.append(self._number(event))
        if event.kind == Kind.ASKED:
            trial = self.trials[event.trial]
            self.streak.went_on()
            if not trial.exempt:
                self.sampler.started(trial.number, trial.point)
        elif event.kind == Kind.EPOCH:
            trial = self.trials[event.trial]
            if not trial.exempt:
                seconds = trial.epochs[-1].seconds
                self.sampler.heard(trial.number, trial.best_so_far(self.study.objective), seconds)
        elif event.kind == Kind.ENDED:
            trial = self.trials[event.trial]
            self._waiting = [number for number in self._waiting if number != event.trial]
            self.streak.ended(trial.state, trial.why)
            if not trial.exempt:
                self._tell_the_end(trial)
        elif event.kind in (Kind.DECIDED, Kind.CONTINUED) and isinstance(self.sampler, Judge):
            number = self._number(event)
            self.sampler.put_aside(number, aside=self.trials[number].state is State.PAUSED)
        elif event.kind == Kind.CONFIRMING:
            self._waiting = [number for number in self._waiting if self.trials[number].confirms is not None]
        elif event.kind == Kind.STEERED:
            self.rules = adjusted(self.rules, event.body)
        elif event.kind == Kind.RESUMED:
            self.rules = adjusted(self.rules, event.body)
            self._waiting = [trial.number for trial in self.trials.running()]
            self.streak.forget()

    def _tell_the_end(self, trial: Trial) -> None:
        """Tell the sampler, and the scheduler of a trial that finished early: at later rungs it is worth its best."""
        curve = trial.best_so_far(self.study.objective, self.study.epochs_of(trial.point))
        self.sampler.ended(trial.number, trial.state, curve)
        if trial.state is State.COMPLETE:
            for rung in self.scheduler.rungs:
                if len(trial.epochs) < rung <= len(curve):
                    self.scheduler.decide(trial.number, rung, curve[-1])

    @staticmethod
    def _number(event: Event) -> int:
        assert event.trial is not None
        return event.trial
