"""A search simulated in memory, many times: how many epochs and seconds it may take.

Each run has the real `Search` and the real scheduler, on made-up values that are exchangeable between trials, and
workers that take the measured seconds. What nobody knows before is drawn anew for each run, from the search's seed: how
much the first values of a trial tell of its later ones, how much the sampler learns (each up to one standard deviation
of values), how much better start points are (up to two); the order in which trials arrive; how long start and end take;
and whether other work that the probe met goes on.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from search.decide.confirmation import time_to_begin
from search.decide.prospects import Prospects
from search.decide.schedulers.scheduler import Scheduler
from search.decide.search import Search
from search.forecast.points import key
from search.record.events import Entry, EpochReport, Event, Kind
from search.record.state import State
from search.settings import Options
from search.signals import ending_seconds
from spaces.space import Config, Value
from spaces.study import Study

RUNS = (8, 200)
"""At least and at most so many times a search is simulated."""
SIMULATED_EPOCHS = 20_000
"""So many epochs are simulated altogether, if `RUNS` allows."""
LARGEST = 100_000
"""A search of more epochs than these, were no trial stopped, is simulated as a smaller one, and its course enlarged."""
SMALLER_EPOCHS, SMALLER_BUDGET = 4_000, 50
"""So many epochs has the smaller one, and so many each of its trials at most."""
TRIAL_SECONDS = (0.1, 0.4)
"""What a trial takes besides its epochs: to be proposed, to get to its worker, to be taken in."""
START_FACTOR = (3.0, 7.0)
"""From the end of the checks to the first trial, in units of what a process takes to import torch.

Ray starts, then a worker on each core at once, each of which imports torch and Ray Tune.
"""
ENDING_FACTOR = (0.4, 1.0)
"""From the last trial to the end of the command, in units of what a time budget keeps for it."""


@dataclass(frozen=True)
class Seconds:
    """What the epochs of a search take, by configuration; and what comes before the first one.

    Of each configuration two numbers: seconds on a machine that has nothing else to do, and as busy as it was.
    `drawn` are those of random points, for whatever the sampler will propose. `begun` seconds passed until the checks
    were over, and a process takes `start` seconds to import torch.
    """

    of: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    drawn: Sequence[tuple[float, float]] = ((0.0, 0.0),)
    begun: float = 0.0
    start: float = 0.0


@dataclass(frozen=True)
class Scenario:
    """The search to simulate: `concurrent` of its trials at a time, within `limit` seconds from its command.

    One that goes on begins with the events of `past`.
    """

    study: Study
    scheduler: Callable[[Study], Scheduler]
    rules: Options
    concurrent: int
    seconds: Seconds = field(default_factory=Seconds)
    limit: float | None = None
    past: Sequence[Event] = ()

    @property
    def trials(self) -> int:
        """How many trials the search asks for at most."""
        return self.rules.trials or self.study.trials


@dataclass(frozen=True)
class Course:
    """What one run came to: new epochs and begun trials, seconds until the end, seconds of all trials together."""

    trials: int
    epochs: int
    seconds: float
    busy: float
    out_of_time: bool


def simulate(scenario: Scenario) -> list[Course]:
    """Simulate the search often enough for percentiles."""
    courses: list[Course] = []
    smaller, times = _smaller(scenario)
    for number in itertools.count():
        courses.append(_Simulation(smaller, times, random.Random(f"{scenario.rules.seed}/plan/{number}")).course())
        enough = SIMULATED_EPOCHS // max(1, courses[0].epochs)
        if len(courses) >= min(max(enough, RUNS[0]), RUNS[1]):
            return courses
    raise AssertionError


@dataclass(frozen=True)
class _Times:
    """How many times larger the search is than the one that is simulated: in trials, and in epochs of each."""

    trials: float = 1.0
    epochs: float = 1.0


def _smaller(scenario: Scenario) -> tuple[Scenario, _Times]:
    """The search to simulate in place of `scenario`, which is itself unless that is very large."""
    study, asked, rules = scenario.study, scenario.trials, scenario.rules
    if asked * study.epochs <= LARGEST:
        return scenario, _Times()
    # What was trained already cannot be made smaller.
    had = sum(event.kind == Kind.ASKED for event in scenario.past)
    epochs = study.epochs if had else min(study.epochs, SMALLER_BUDGET)
    trials = min(asked, had + max(SMALLER_EPOCHS // epochs, 2 * scenario.concurrent))
    times = _Times((asked - had) / max(1, trials - had), study.epochs / epochs)
    first_rung = max(1, round(study.first_rung / times.epochs))
    confirm = None if rules.confirm is None else max(1, round(rules.confirm / times.trials))
    seconds = replace(
        scenario.seconds,
        of={point: (quiet * times.epochs, busy * times.epochs) for point, (quiet, busy) in scenario.seconds.of.items()},
        drawn=[(quiet * times.epochs, busy * times.epochs) for quiet, busy in scenario.seconds.drawn],
    )
    study = replace(study, epochs=epochs, first_rung=first_rung)
    rules = replace(rules, trials=trials, confirm=confirm)
    return replace(scenario, study=study, rules=rules, seconds=seconds), times


class _Simulation:
    """One search in memory, with values and seconds drawn from `chance`. It is its own sampler and its own record."""

    def __init__(self, scenario: Scenario, times: _Times, chance: random.Random) -> None:
        self._scenario, self._times, self._chance = scenario, times, chance
        self._sign = 1.0 if scenario.study.objective.mode == "max" else -1.0
        self._noise, self._hinted, self._learned = chance.random(), 2 * chance.random(), chance.random()
        self._quiet = chance.random()
        self._worth: dict[int, float] = {}
        study, past, rules = scenario.study, scenario.past, scenario.rules
        self._events = len(past)
        goes_on = [Event(len(past) + 1, 0.0, Kind.RESUMED, None, {"trials": scenario.trials})] if past else []
        self._search = Search(study, self, self, scenario.scheduler(study), rules, past=[*past, *goes_on])

    def course(self) -> Course:
        """The search from now on, until its trials or its time are over."""
        trials, chance, scenario = self._search.trials, self._chance, self._scenario
        seconds, limit, idle = scenario.seconds, scenario.limit, scenario.concurrent
        before, busy = trials.epochs, 0.0
        begin = seconds.begun + seconds.start * chance.uniform(*START_FACTOR)
        ending = ending_seconds(math.inf if limit is None else limit) * chance.uniform(*ENDING_FACTOR)
        stop = math.inf if limit is None else limit - ending_seconds(limit)
        now = begin
        working: list[tuple[float, int, float]] = []
        """When the epoch in hand ends, of which trial it is, and when it began: the next one to end is the first."""
        while True:
            while idle and now < stop and (number := self._begin()) is not None:
                idle -= 1
                began = now + chance.uniform(*TRIAL_SECONDS) if seconds.start else now
                heapq.heappush(working, (began + self._epoch(number), number, began))
            if not working or working[0][0] > stop:
                break
            now, number, began = heapq.heappop(working)
            busy += now - began
            if limit is not None and time_to_begin(
                self._search, scenario.concurrent, began=begin, deadline=stop, now=now
            ):
                self._search.confirm()
            if self._report(number, now - began):
                heapq.heappush(working, (now + self._epoch(number), number, now))
            else:
                idle += 1
        if working:
            busy += sum(max(0.0, stop - began) for _, _, began in working)
            now = stop
        out_of_time = bool(working) or (now >= stop and len(trials.searched) < scenario.trials)
        done = Course(len(trials), trials.epochs - before, max(now, begin), busy, out_of_time)
        done = self._enlarged(done, begin, stop)
        return replace(done, seconds=done.seconds + ending)

    def _enlarged(self, done: Course, begin: float, stop: float) -> Course:
        """What a course means for the search that it stands for: it goes on as it went, until its time is over."""
        had, worked = sum(event.kind == Kind.ASKED for event in self._scenario.past), done.seconds - begin
        more = 1.0 if done.out_of_time else self._times.trials
        out_of_time = done.out_of_time or (more > 1 and begin + worked * more > stop)
        if out_of_time and not done.out_of_time:
            more = (stop - begin) / worked
        return Course(
            had + round((done.trials - had) * more),
            round(done.epochs * more * self._times.epochs),
            begin + worked * more,
            done.busy * more,
            out_of_time,
        )

    def _begin(self) -> int | None:
        """The number of the trial that a free worker gets, None if there is none at present."""
        waiting = self._search.again()
        if waiting is not None:
            self._search.restart(waiting, waiting.epochs[-1] if waiting.epochs else None)
        trial = waiting or self._search.ask()
        return None if trial is None else trial.number

    def _report(self, number: int, seconds: float) -> bool:
        """Report the next epoch of trial `number`, and tell whether the trial goes on."""
        metrics = {self._search.study.objective.metric: self._value(number)}
        epoch = len(self._search.trials[number].epochs) + 1
        report = EpochReport(epoch, metrics, seconds, checkpoint="kept")
        return self._search.report(number, report) or self._search.goes_on_at_once(number)

    def _epoch(self, number: int) -> float:
        """The seconds of the next epoch of trial `number`."""
        seconds = self._scenario.seconds
        quiet, busy = seconds.of.get(key(self._search.trials[number].point)) or self._chance.choice(seconds.drawn)
        # Epochs of equal length would arrive in one order; those of a busy machine differ more.
        return (quiet + self._quiet * (busy - quiet) + 1e-9) * self._chance.uniform(0.9, 1.1)

    def _value(self, number: int) -> float:
        if number not in self._worth:
            proposed = self._search.trials[number].proposed
            learned = self._learned * number / self._scenario.trials if proposed else self._hinted
            self._worth[number] = self._chance.gauss(0, 1) + learned
        return self._sign * (self._worth[number] + self._noise * self._chance.gauss(0, 1))

    # The record: nothing is kept but what the search itself remembers.

    def append(self, *events: Entry) -> list[Event]:
        """See `search.decide.search.Events`."""
        made = [Event(self._events + 1 + i, 0.0, *event) for i, event in enumerate(events)]
        self._events += len(made)
        return made

    # The sampler: one point is as good as another.

    def propose(self, number: int) -> Config | None:
        """See `Sampler.propose`."""
        return {"drawn/number": number}

    def started(self, number: int, point: Mapping[str, Value]) -> None:
        """See `Sampler.started`."""

    def heard(self, number: int, values: Sequence[float], seconds: float = 0.0) -> None:
        """See `Sampler.heard`."""

    def ended(self, number: int, state: State, values: Sequence[float]) -> None:
        """See `Sampler.ended`."""

    def put_aside(self, number: int, *, aside: bool) -> None:
        """See `Judge.put_aside`."""

    def prospects(self, number: int) -> Prospects:
        """See `Judge.prospects`: the better a paused trial is, the sooner it goes on; a new one is in the middle."""
        objective = self._search.study.objective
        worth = {t.number: self._sign * t.best_value(objective) for t in self._search.trials.paused()}
        spread = {n: math.exp(max(-50.0, min(50.0, value))) for n, value in worth.items()}
        return Prospects(1.0, spread, {n: 0.1 * value for n, value in spread.items()})
