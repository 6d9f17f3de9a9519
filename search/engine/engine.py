"""The trials of a search between its decisions and its workers: who is next, what was reported, who was lost.

Ray is not known here. `tune.py` asks what to start, and tells what Ray's workers report and how they end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from search.decide import closing
from search.decide.search import Search
from search.engine.occupancy import Occupancy
from search.engine.surroundings import Surroundings
from search.engine.watchdog import Watchdog
from search.engine.worker import Task, stack_file
from search.errors import BadInput, EnvironmentFault, StorageFull
from search.record.events import Closing, EpochReport, Steered
from search.record.state import State
from search.record.steering import Request
from search.record.trial import EpochRow, Trial
from search.storage import checkpoints
from search.storage.checkpoints import Retention

STACK_GRACE_SECONDS = 30.0
"""A silent worker is ended this much later if it has not dumped its stacks: it may still be starting, or be stopped."""

UNWANTED_SECONDS = 5.0
"""A worker whose trial was stopped is ended this much later, unless its epoch ends first: a new one takes seconds."""

ROOM_SECONDS = 120.0
"""Trials may wait at least so long for a node with room; a worker's start alone can take a minute on a busy machine."""

KEEPS_NOTHING = (
    "the trials keep no checkpoint: one that is lost begins again, and the winner is neither tested nor registered; "
    "yield Epoch(number, metrics, model=…)"
)
BEGINS_AGAIN = (
    "trials that go on train all their epochs again, since the trainable does not take up its checkpoint; "
    "`restore` from trainables.epoch does"
)

NODE_LOST = ("node has died", "preempt", "drain")
"""In what Ray says of a worker's end, if its whole node went."""


class Driver(Protocol):
    """The process that runs the search, as far as the engine needs it."""

    def should_stop(self) -> str:
        """Why no more trial may run, or ""."""

    def requests(self) -> Iterator[Request]:
        """What people have asked of the search since the last call."""

    def steered(self, told: Steered) -> None:
        """Hear what came of a request."""

    def should_confirm(self) -> bool:
        """Whether no more time is left for the search proper, so that its confirmation is to begin."""

    def seconds_left(self) -> float | None:
        """The seconds until the search has to end; None if it has all the time."""

    def closing(self, told: Closing) -> None:
        """Hear that nothing new begins."""

    def tick(self) -> None:
        """Called several times a second."""

    def warn(self, text: str) -> None:
        """Tell the user a line that must be seen."""


class Engine:
    """Gives the trials of `search` to workers and their reports to `search`, which decides.

    An attempt at a trial is known by the id that Tune gives it. A trial that lost its worker comes back as another
    attempt, with the checkpoint to go on from.
    """

    def __init__(
        self, search: Search, task: Task, retention: Retention, surroundings: Surroundings, driver: Driver
    ) -> None:
        self.search, self.task, self.driver, self.surroundings = search, task, driver, surroundings
        self._retention, self._watchdog = retention, Watchdog(task.timeout)
        self._occupancy = Occupancy(surroundings.places)
        self._numbers: dict[str, int] = {}
        """The numbers of the trials, by attempt."""
        self._done: dict[str, int] = {}
        """Of attempts that were given a checkpoint and have not reported yet, the epoch of that."""
        self._said: set[str] = set()
        self._unwanted: dict[str, float] = {}
        """Attempts at trials that somebody stopped, and since when, on the monotonic clock."""
        self._silent: dict[str, str] = {}
        """Attempts that are being ended because they were silent, and what is said of each."""

    # What to start

    def listen(self) -> None:
        """Take in what people ask of the search."""
        for request in self.driver.requests():
            told = self.search.steer(request)
            if told is None:
                continue
            if told.trial is not None:
                attempts = [attempt for attempt, number in self._numbers.items() if number == told.trial]
                self._unwanted |= dict.fromkeys(attempts, time.monotonic())
            self.driver.steered(told)

    @property
    def full(self) -> bool:
        """Whether no more trials may begin at present."""
        return self._occupancy.next_is_cpu_only() is None

    @property
    def more(self) -> bool:
        """Whether a trial may still come up: one that runs now could lose its worker."""
        waits = bool(self.search.trials.running()) or bool(self.search.steering.paused)
        return waits and not self.driver.should_stop() and not self.search.hopeless()

    def suggest(self, attempt: str) -> dict[str, Any] | None:
        """What a worker is to do next, as `worker.reports` takes it, or None when there is nothing at present."""
        self.listen()  # while a search is paused Tune does nothing else than ask for more
        if self.driver.should_stop():
            return None
        cpu_only = bool(self._occupancy.next_is_cpu_only())
        waiting = self.search.again()
        row = self._restart(waiting) if waiting else None
        trial = waiting or self.search.ask()
        if trial is None:
            return None
        self._numbers[attempt] = trial.number
        self._done[attempt] = row.number if row else 0
        self._occupancy.take(attempt, cpu_only=cpu_only)
        return {
            "trial": trial.number,
            "attempt": trial.attempt,
            "config": self.search.config(trial),
            "resume": row.checkpoint if row else None,
            "done": row.number if row else 0,
            "silence": self._watchdog.limit,
            "gpus": 0.0 if cpu_only else self.task.gpus,
        }

    def _restart(self, trial: Trial) -> EpochRow | None:
        """Let `trial` go on from its newest whole checkpoint; None if it has none and begins again."""
        row, faults = checkpoints.newest(self.task.shelf, trial)
        if faults:
            goes_on = f"from epoch {row.number}" if row else "from the beginning"
            self.driver.warn(f"{faults}; trial {trial.number} goes on {goes_on}")
        self.search.restart(trial, row)
        return row

    def began(self, attempt: str) -> None:
        """A worker begins with `attempt`."""
        self._occupancy.began(attempt)
        self._watchdog.began(attempt)

    def left(self, attempt: str) -> None:
        """Tune is done with `attempt`."""
        self._unwanted.pop(attempt, None)
        self._occupancy.left(attempt)

    # What was reported

    def heard(self, attempt: str, report: Mapping[str, Any]) -> bool:
        """Take in a report of `attempt`, and say whether it goes on.

        Raises StorageFull or EnvironmentFault if the worker could not work where it is, BadInput if its script could
        not anywhere.
        """
        number = self._numbers.get(attempt)
        if number is None:  # an attempt that was given up
            return False
        self._watchdog.heard(attempt)
        if "storage_full" in report:
            raise StorageFull(
                f"no space for checkpoints ({report['storage_full']}); free some or give more, then resume"
            )
        if "unfit" in report:
            raise EnvironmentFault(f"{report['unfit']}; the search can be resumed")
        go_on = False
        if report.get("end") == State.COMPLETE:
            self.search.finish_early(number)
        elif "end" in report:
            self.search.end(number, State(report["end"]), report["why"], report.get("traceback", ""))
            some_complete = any(trial.state is State.COMPLETE for trial in self.search.trials)
            no_use = report.get("unusable") and not self.search.trials.epochs
            if no_use or (report.get("without_model") and not some_complete):
                raise BadInput(f"{report['why']}; no other setting would mend that, so the search has ended")
        elif "epoch" in report:
            go_on = self._took_epoch(attempt, number, report)
        self._retention.sweep(self.search.trials)
        if not go_on:
            self._watchdog.ended(attempt)
        return go_on

    def _took_epoch(self, attempt: str, number: int, report: Mapping[str, Any]) -> bool:
        """Take in an epoch, and say whether the trial goes on."""
        told = EpochReport.from_plain({**report, **report["place"]})
        if "note" in report:
            self._warn_once(report["note"])
        if told.checkpoint is not None:
            self._retention.added(told.checkpoint)
        else:
            self._warn_once(KEEPS_NOTHING)
        if told.epoch <= self._done.pop(attempt, 0):
            self._warn_once(BEGINS_AGAIN)
        metric = self.search.study.objective.metric
        if metric not in told.metrics:
            self._warn_once(f"not every epoch has the metric {metric}; trials are compared at those that have it")
        go_on = self.search.report(number, told)
        if not go_on and not self.driver.should_stop() and not self._occupancy.overfull(attempt):
            go_on = self.search.goes_on_at_once(number)
        if go_on and self.search.steering.paused:
            self.search.lost(number, State.PREEMPTED, f"paused by {self.search.steering.paused}")
            return False
        if go_on and self._occupancy.overfull(attempt) and not self.surroundings.alone():
            # Another search has begun; this place is its share, and the checkpoint is there to go on from.
            self.search.lost(number, State.PREEMPTED, "gave its place to another search")
            return False
        return go_on

    def _warn_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.driver.warn(text)

    # Who was lost

    def lost(self, attempt: str, why: str) -> None:
        """The worker of `attempt` died; Ray's memory monitor and its nodes say so where it was they."""
        number = self._numbers.pop(attempt, None)
        self._unwanted.pop(attempt, None)
        self._watchdog.ended(attempt)
        self._occupancy.recount()
        if number is None:
            return
        stack = self._stack_of(number)
        if stack.is_file() and not stack.stat().st_size:
            stack.unlink()
        silent = self._silent.pop(attempt, None)
        state, why = (State.TIMED_OUT, silent) if silent is not None else (self._state_after(why), why)
        if self.search.lost(number, state, why):
            self.driver.warn(f"trial {number} lost its worker and is tried again: {why}")
        self._retention.sweep(self.search.trials)

    def _state_after(self, why: str) -> State:
        """What the end of a worker is for its trial, by what Ray says of it."""
        if "low on memory" in why or "OutOfMemory" in why:
            return State.OUT_OF_MEMORY
        if any(words in why for words in NODE_LOST):
            return State.PREEMPTED
        if "is unavailable" in why and self.surroundings.some_gone():  # Ray does not know yet that its node has died
            return State.PREEMPTED
        return State.FAILED

    def _stack_of(self, number: int) -> Path:
        """Where the stacks of the attempt at trial `number` that runs now are dumped."""
        return stack_file(self.task.stacks, number, self.search.trials[number].attempt)

    # What time brings

    def overdue(self) -> list[str]:
        """The attempts to be ended now because they were silent for too long; of each, `lost` is to be told.

        So are those at trials that were stopped, if they do not come to the end of an epoch soon.
        """
        now = time.monotonic()
        late = [attempt for attempt, since in self._unwanted.items() if now > since + UNWANTED_SECONDS]
        for attempt in late:
            del self._unwanted[attempt]
        for attempt, seconds in self._watchdog.overdue().items():
            number = self._numbers.get(attempt)
            if number is None or attempt in self._silent:
                continue
            stack = self._stack_of(number)
            dumped = stack.is_file() and stack.stat().st_size > 0
            if not dumped and seconds < self._watchdog.limit + STACK_GRACE_SECONDS:
                continue
            where = f"its stacks are in {stack.parent.name}/{stack.name}" if dumped else "it could not dump its stacks"
            self._silent[attempt] = f"no report for {seconds:.0f} s; {where}"
            late.append(attempt)
        return late

    def check_room(self) -> None:
        """Raise EnvironmentFault if trials wait and none has found a place for long: the node that had room is gone."""
        idle = self._watchdog.idle()
        if idle > max(ROOM_SECONDS, self._watchdog.limit) and self._occupancy and self.surroundings.alone():
            raise EnvironmentFault(f"no node has had room for a trial for {idle:.0f} s; the search can be resumed")

    def check_clock(self) -> None:
        """Begin the confirmation if it is time; and no new trial any more if it would be cut off too soon."""
        if self.driver.should_confirm():
            self.search.confirm()
        left = self.driver.seconds_left()
        told = closing.due(self.search, left) if left is not None else None
        if told is not None:
            self.search.note(told)
            self.driver.closing(told)

    def tick(self) -> None:
        """Look at nodes that have joined, and let the driver do what it does several times a second."""
        self.listen()
        self.surroundings.check_newcomers()
        self.driver.tick()
