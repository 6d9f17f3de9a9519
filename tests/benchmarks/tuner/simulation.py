"""Asynchronous workers on a simulated clock: who asks when, who hears when, and what was the best so far."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from spaces.space import Value
from tests.benchmarks.tuner.table import Table


@dataclass(frozen=True)
class Job:
    """What a worker does next: train `trial` at `point`, from after epoch `done` (0: from the start)."""

    trial: int
    point: Mapping[str, Value]
    done: int = 0


class Tuner(Protocol):
    """A method under test, as a search engine sees it. It maximises."""

    def ask(self) -> Job | None:
        """What a free worker does, or None while there is nothing to do; it is asked again after the next report."""

    def report(self, trial: int, epoch: int, value: float) -> bool:
        """Take in what `trial` is worth after `epoch`, and say whether it goes on; not after the last epoch."""


@dataclass(frozen=True)
class Course:
    """How the best value so far grew: it is `values[i]` from `seconds[i]` on.

    With the numbers of epochs trained and of jobs given out, and the processor seconds that the tuner took.
    """

    seconds: np.ndarray
    values: np.ndarray
    epochs: int
    asks: int
    thinking: float

    def best_at(self, seconds: float) -> float:
        """The best value that had been reported by then; minus infinity before the first report."""
        index = int(np.searchsorted(self.seconds, seconds, side="right"))
        return float(self.values[index - 1]) if index else float("-inf")

    def reached(self, value: float) -> float:
        """When `value` was first reached; infinity if it never was."""
        index = int(np.searchsorted(self.values, value))
        return float(self.seconds[index]) if index < len(self.values) else float("inf")


def simulate(tuner: Tuner, table: Table, *, workers: int, seconds: float) -> Course:
    """Let `tuner` search `table` with so many workers for so many simulated seconds.

    The tuner is one process, as drivers are: while it thinks, all that want something of it wait, for as long as it
    takes the processor here. A new trial trains the nearest configuration that this search has not trained yet: a
    second training of the same row would repeat its curve to the last digit, which no two trainings do.
    """
    order = itertools.count()
    events: list[tuple[float, int, Job, int, int]] = []  # when, tie, job, row, epoch that ends then
    idle, now, driver = workers, 0.0, 0.0
    best, times, values = float("-inf"), [], []
    rows: dict[int, int] = {}
    taken: set[int] = set()
    epochs = asks = 0
    thinking = 0.0

    def think(call):  # type: ignore[no-untyped-def]
        nonlocal driver, thinking
        began = time.process_time()
        answer = call()
        took = time.process_time() - began
        thinking += took
        driver = max(driver, now) + took
        return answer

    while True:
        while idle:
            job = think(tuner.ask)
            if job is None:
                break
            asks, idle = asks + 1, idle - 1
            row = rows.get(job.trial)
            if row is None:
                row = table.nearest(job.point, taken)
                if row is None:
                    return Course(np.array(times), np.array(values), epochs, asks, thinking)
                rows[job.trial] = row
                taken.add(row)
            done = table.seconds[row, job.done - 1] if job.done else 0.0
            end = driver + table.seconds[row, job.done] - done
            heapq.heappush(events, (end, next(order), job, row, job.done + 1))
        if not events:
            break
        now, _, job, row, epoch = heapq.heappop(events)
        if now > seconds:
            break
        epochs += 1
        value = float(table.accuracy[row, epoch - 1])
        if value > best:
            best = value
            times.append(now)
            values.append(value)
        goes_on = think(lambda: tuner.report(job.trial, epoch, value))  # noqa: B023 - called at once
        if goes_on and epoch < table.epochs:
            end = driver + table.seconds[row, epoch] - table.seconds[row, epoch - 1]
            heapq.heappush(events, (end, next(order), job, row, epoch + 1))
        else:
            idle += 1
    return Course(np.array(times), np.array(values), epochs, asks, thinking)
