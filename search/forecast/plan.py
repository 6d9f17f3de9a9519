"""What a search is going to cost, before it is begun: epochs, time and memory, with a range.

A short probe (probe.py) measures start points, corners and a few random points of the space here and now. Then
the search is played through many times in memory: the real `Search` and the real scheduler, on made-up values that are
exchangeable between trials, on workers that take the measured seconds. The range is from the 10th to the 90th
percentile of what comes of it, and the expected value the median.

What is drawn anew for each play, because nobody knows it before: how much the first values of a trial tell of its later
ones, how much the sampler learns (each up to one standard deviation of values), how much better start points are (up to
two); the order in which trials arrive; how long start and end take; and whether other work that the probe met goes on.
All of it comes from the search's seed. Trials that diverge or fail are not foreseen; with them there are fewer epochs.
Nor is it when a search is settled (`--until-settled`), which ends it sooner.
Of a cluster nothing is asked: as many trials run at once as fit on this machine, or as `--concurrent` allows.
"""

from __future__ import annotations

import heapq
import itertools
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from search.decide.confirmation import time_to_begin
from search.decide.samplers import SAMPLERS
from search.decide.schedulers import SCHEDULERS
from search.decide.schedulers.scheduler import Scheduler
from search.decide.search import Search
from search.engine import places
from search.findings.text import clock
from search.forecast.probe import LATE, MB, Measured, Probe, measure
from search.prepared import Prepared
from search.record.events import Entry, Event, Kind
from search.record.header import Header
from search.record.reading import spent
from search.record.trials import State
from search.signals import ending_seconds
from spaces.space import Config, Value
from spaces.study import Study, config_of

PROBE_SECONDS = 10.0
RANDOM_POINTS = 6
PLAYS = (8, 200)
"""At least and at most so many times the search is played through."""
PLAYED_EPOCHS = 20_000
"""So many epochs are played altogether, if `PLAYS` allows."""
TRIAL_SECONDS = (0.1, 0.4)
"""What a trial takes besides its epochs: to be proposed, to get to its worker, to be taken in."""
START_FACTOR = (3.0, 7.0)
"""From the end of the checks to the first trial, in units of what a process takes to import torch.

Ray starts, then a worker on each core at once, each of which imports torch and Ray Tune.
"""
ENDING_FACTOR = (0.4, 1.0)
"""From the last trial to the end of the command, in units of what a time budget keeps for it."""

Range = dict[str, float]
"""`low`, `expected` and `high`."""


@dataclass(frozen=True)
class Seconds:
    """What the epochs of a search take, by configuration; and what comes before the first one.

    Of each configuration two numbers: seconds on a machine that has nothing else to do, and as busy as it was.
    `drawn` are those of random points, for whatever the sampler will propose.
    """

    of: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    drawn: Sequence[tuple[float, float]] = ((0.0, 0.0),)
    begun: float = 0.0
    start: float = 0.0


@dataclass(frozen=True)
class Course:
    """What one play came to: new epochs and begun trials, seconds until the end, seconds of all trials together."""

    trials: int
    epochs: int
    seconds: float
    busy: float
    out_of_time: bool


def plan(
    prepared: Prepared, *, elapsed: Callable[[], float] = lambda: 0.0, probe_seconds: float = PROBE_SECONDS
) -> dict[str, Any]:
    """What `prepared` will take, as the `plan` of the JSON document; nothing is started or written.

    `elapsed` tells the seconds since the command began, which a search would have spent so far too. The probe takes
    about `probe_seconds`; with 0 nothing is measured, and only trials and epochs are foretold.
    """
    settings, study, header = prepared.settings, prepared.study, prepared.header
    checked = elapsed()
    concurrent = places.slots_here(settings)
    points = points_of(study, settings.seed)
    probed = Probe([Measured(fault=LATE)] * len(points), 0.0, 0, 0)
    if probe_seconds:
        configs = [study.full_config(point, seed=0) for _, point in points]
        probed = measure(
            header.source,
            prepared.data,
            configs,
            cpus=settings.cpus,
            gpus=settings.gpus,
            lanes=concurrent,
            seconds=probe_seconds,
        )
    rows = [
        {
            "what": what,
            "point": dict(point),
            "seconds_per_epoch": _rounded(result.seconds),
            "memory_mb": _rounded(None if result.memory is None else result.memory / MB),
            "by": result.by,
            "fault": result.fault,
        }
        for (what, point), result in zip(points, probed.results, strict=True)
    ]
    seconds = _seconds(points, probed, checked)
    courses = foretell(
        study,
        SCHEDULERS[header.scheduler],
        trials=header.trials,
        concurrent=concurrent,
        seed=settings.seed,
        seconds=seconds or Seconds(),
        limit=_left(prepared),
        past=prepared.past,
        options={"audit": settings.audit, "confirm": settings.confirm, "confirm_seeds": header.confirm_seeds},
    )
    limit = _left(prepared) if seconds else None
    out_of_time = sum(course.out_of_time for course in courses) * 2 > len(courses)
    hours = {} if seconds is None else {"cpu_hours": _range([c.busy * settings.cpus / 3600 for c in courses])}
    if seconds and settings.gpus:
        hours["gpu_hours"] = _range([course.busy * settings.gpus / 3600 for course in courses])
    return {
        "data": "to be downloaded" if prepared.source.missing else "stand-in" if header.stand_in else "at hand",
        "rungs": header.rungs,
        "concurrent": concurrent,
        "trials": _range([course.trials for course in courses]),
        "epochs": _range([course.epochs for course in courses]),
        "seconds": None if seconds is None else _range([course.seconds for course in courses]),
        **({"cpu_hours": None} if seconds is None else hours),
        # Without a measure nobody knows which of two limits comes first.
        "ends_by": None if header.time_budget and not seconds else "time budget" if out_of_time else "trials",
        "memory_mb": {row["what"]: row["memory_mb"] for row in rows if row["memory_mb"] is not None},
        "fits": {
            "time_budget": None if limit is None else not out_of_time,
            "memory": _fits(probed, concurrent, gpus=settings.gpus),
            "free_mb": _rounded(probed.room / MB) if probed.room else None,
            "process_mb": _rounded(probed.base / MB) if probed.base else None,
        },
        "probe": rows,
    }


def foretell(
    study: Study,
    scheduler: Callable[[Study], Scheduler],
    *,
    trials: int,
    concurrent: int,
    seed: int,
    seconds: Seconds,
    limit: float | None = None,
    past: Sequence[Event] = (),
    options: Mapping[str, Any] | None = None,
) -> list[Course]:
    """Play the search of `study` through, often enough for percentiles; `limit` is in seconds from its command.

    A search that goes on begins with the events of `past`; `options` are more of those of `Search`.
    """
    courses: list[Course] = []
    for number in itertools.count():
        chance = random.Random(f"{seed}/plan/{number}")
        played = _Play(study, scheduler(study), trials, seed, seconds, past, chance, options or {})
        courses.append(played.course(concurrent, limit))
        enough = PLAYED_EPOCHS // max(1, courses[0].epochs)
        if len(courses) >= min(max(enough, PLAYS[0]), PLAYS[1]):
            return courses
    raise AssertionError


class _Play:
    """One search in memory, with values and seconds drawn from `chance`. It is its own sampler and its own record."""

    def __init__(
        self,
        study: Study,
        scheduler: Scheduler,
        trials: int,
        seed: int,
        seconds: Seconds,
        past: Sequence[Event],
        chance: random.Random,
        options: Mapping[str, Any],
    ) -> None:
        self._seconds, self._chance, self._events, self._planned = seconds, chance, len(past), trials
        self._sign = 1.0 if study.objective.mode == "max" else -1.0
        self._noise, self._hinted, self._learned = chance.random(), 2 * chance.random(), chance.random()
        self._quiet = chance.random()
        self._worth: dict[int, float] = {}
        goes_on = [Event(len(past) + 1, 0.0, Kind.RESUMED, None, {"trials": trials})] if past else []
        past = [*past, *goes_on]
        self._search = Search(study, self, self, scheduler, seed=seed, trials=trials, past=past, **options)

    def course(self, concurrent: int, limit: float | None) -> Course:
        """The search from now on, on so many workers."""
        trials, seconds, chance = self._search.trials, self._seconds, self._chance
        metric = self._search.study.objective.metric
        before, busy = trials.epochs, 0.0
        begin = seconds.begun + seconds.start * chance.uniform(*START_FACTOR)
        ending = ending_seconds(math.inf if limit is None else limit) * chance.uniform(*ENDING_FACTOR)
        stop = math.inf if limit is None else limit - ending_seconds(limit)
        now, idle = begin, concurrent
        working: list[tuple[float, int, float]] = []
        while True:
            while idle and now < stop and (number := self._begin()) is not None:
                idle -= 1
                began = now + chance.uniform(*TRIAL_SECONDS) if seconds.start else now
                heapq.heappush(working, (began + self._epoch(number), number, began))
            if not working or working[0][0] > stop:
                break
            now, number, began = heapq.heappop(working)
            busy += now - began
            if limit is not None and time_to_begin(self._search, concurrent, began=begin, deadline=stop, now=now):
                self._search.confirm()
            epoch = len(trials[number].epochs) + 1
            if self._search.report(number, epoch, {metric: self._value(number)}, seconds=now - began):
                heapq.heappush(working, (now + self._epoch(number), number, now))
            else:
                idle += 1
        if working:
            busy += sum(max(0.0, stop - began) for _, _, began in working)
            now = stop
        out_of_time = bool(working) or (now >= stop and len(trials.searched) < self._planned)
        return Course(len(trials), trials.epochs - before, max(now, begin) + ending, busy, out_of_time)

    def _begin(self) -> int | None:
        """The number of the trial that a free worker gets, None if there is none at present."""
        waiting = self._search.again()
        if waiting is not None:
            self._search.restart(waiting, waiting.epochs[-1] if waiting.epochs else None)
        trial = waiting or self._search.ask()
        return None if trial is None else trial.number

    def _epoch(self, number: int) -> float:
        trial = self._search.trials[number]
        quiet, busy = self._seconds.of.get(_key(trial.point)) or self._chance.choice(self._seconds.drawn)
        # Epochs of equal length would arrive in one order; those of a busy machine differ more.
        return (quiet + self._quiet * (busy - quiet) + 1e-9) * self._chance.uniform(0.9, 1.1)

    def _value(self, number: int) -> float:
        if number not in self._worth:
            proposed = self._search.trials[number].proposed
            learned = self._learned * number / self._planned if proposed else self._hinted
            self._worth[number] = self._chance.gauss(0, 1) + learned
        return self._sign * (self._worth[number] + self._noise * self._chance.gauss(0, 1))

    # The record: nothing is kept but what the search itself remembers.

    def append(self, *events: Entry) -> list[Event]:
        """See `search.search.Events`."""
        made = [Event(self._events + 1 + i, 0.0, *event) for i, event in enumerate(events)]
        self._events += len(made)
        return made

    # The sampler: one point is as good as another.

    def propose(self, number: int) -> Config | None:
        """See `Sampler.propose`."""
        return {"drawn/number": number}

    def started(self, number: int, point: Mapping[str, Value]) -> None:
        """See `Sampler.started`."""

    def heard(self, number: int, values: Sequence[float]) -> None:
        """See `Sampler.heard`."""

    def ended(self, number: int, state: State, values: Sequence[float]) -> None:
        """See `Sampler.ended`."""


def points_of(study: Study, seed: int) -> list[tuple[str, Config]]:
    """What a probe tries, by what it is called; what matters most comes first, in case that time is short."""
    corners = list(study.ranges.corners().items())
    random_sampler, drawn = SAMPLERS["random"](study, seed), []
    for number in range(RANDOM_POINTS):
        point = random_sampler.propose(number)
        assert point is not None
        random_sampler.started(number, point)
        drawn.append((f"random {number}", point))
    named = (
        *((f"published {number}", dict(each.config)) for number, each in enumerate(study.published)),
        *((f"start {number}", dict(point)) for number, point in enumerate(study.start)),
        *corners[:2],
        *drawn,
        *corners[2:],
    )
    first: dict[str, tuple[str, Config]] = {}
    for what, point in named:
        first.setdefault(_key(point), (what, point))
    return list(first.values())


def _seconds(points: Sequence[tuple[str, Config]], probed: Probe, begun: float) -> Seconds | None:
    """What the probe tells of the search's epochs, or None if it could measure none."""
    known = {
        what: (_key(point), (result.seconds * (1 - result.waiting), result.seconds))
        for (what, point), result in zip(points, probed.results, strict=True)
        if result.seconds is not None
    }
    drawn = [each for what, (_, each) in known.items() if what.startswith("random")]
    if not known:
        return None
    return Seconds(dict(known.values()), drawn or [each for _, each in known.values()], begun, probed.start)


def _left(prepared: Prepared) -> float | None:
    limit = prepared.header.time_budget
    return limit if limit is None or not prepared.past else max(0.0, limit - spent(prepared.past))


def _fits(probed: Probe, concurrent: int, *, gpus: float) -> bool | None:
    """Whether as many trials as run at once have room, were all of them like the largest; None if unknown."""
    needed = [result.memory for result in probed.results if result.memory is not None]
    if any(result.out_of_memory for result in probed.results):
        return False
    if not needed or gpus or not probed.room:  # a GPU's memory is shared by those on it alone
        return None
    return concurrent * (probed.base + max(needed)) <= probed.room


def _key(point: Mapping[str, Value]) -> str:
    return json.dumps(config_of(point))


def _range(values: Sequence[float]) -> Range:
    ordered = sorted(values)

    def at(share: float) -> float:
        value = ordered[round(share * (len(ordered) - 1))]
        return value if isinstance(value, int) else float(f"{value:.4g}")

    return {"low": at(0.1), "expected": at(0.5), "high": at(0.9)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


def text(told: Mapping[str, Any], header: Header) -> str:
    """The plan for people."""
    trials, epochs, seconds = told["trials"], told["epochs"], told["seconds"]
    lines = ["plan"]
    where = {"to be downloaded": "will be downloaded first", "stand-in": "CANNOT BE HAD; A STAND-IN WILL BE USED"}
    lines.append(f"  data      {header.dataset}: {where.get(told['data'], 'at hand')}")
    lines.append(f"  trials    {_three(trials, str)}")
    lines.append(f"  epochs    {_three(epochs, str)}")
    if seconds:
        budget = f", of {clock(header.time_budget)} allowed" if header.time_budget else ""
        lines.append(f"  time      {_three(seconds, clock)}{budget}")
        for kind in ("cpu", "gpu"):
            if told.get(f"{kind}_hours"):
                lines.append(f"  {kind.upper()}-hours {_three(told[f'{kind}_hours'], lambda hours: f'{hours:.3g}')}")
        lines.append(f"  ends by   {told['ends_by']}")
    fits = told["fits"]
    if told["memory_mb"]:
        most = max(told["memory_mb"].values())
        line = f"  memory    up to {most:,.0f} MB a trial"
        if fits["memory"] is not None:
            verdict = "fits" if fits["memory"] else "DOES NOT FIT"
            line += f", beside {fits['process_mb']:,.0f} MB a process: {told['concurrent']} at a time "
            line += f"{verdict} into {fits['free_mb']:,.0f} MB"
        lines.append(line)
    rows = [] if not told["seconds"] and all(row["fault"] == LATE for row in told["probe"]) else told["probe"]
    if not rows:
        return "\n".join(lines)
    lines.append("")
    width = max(len(row["what"]) for row in rows)
    lines.append(f"{'probe':<{width}}  s/epoch  memory")
    for row in rows:
        if row["fault"]:
            point = "" if row["fault"] == LATE else f"  ({shown(row['point'])})"
            lines.append(f"{row['what']:<{width}}  {row['fault']}{point}")
        else:
            lines.append(
                f"{row['what']:<{width}}  {row['seconds_per_epoch']:7.3g}  {row['memory_mb']:,.0f} MB  ok"
                + ("" if row["by"] == "steps" else "  (a whole epoch: it is not made of steps that we know)")
            )
    return "\n".join(lines)


def shown(point: Mapping[str, Any]) -> str:
    """A point in few words."""
    return " ".join(f"{name.split('/', 1)[1]}={value}" for name, value in point.items())


def _three(values: Mapping[str, float], write: Callable[[float], str]) -> str:
    low, expected, high = (write(values[name]) for name in ("low", "expected", "high"))
    return expected if low == high else f"{expected}   ({low} … {high})"
